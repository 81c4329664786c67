"""Authentication and allowed hosts: names of the server, a token, and sessions of browsers."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vlar.apps.serve.errors import ServeError, ServeLimits, answer_of
from vlar.apps.serve.uploads import too_large
from vlar.errors import UsageError
from vlar.files.reading import read_file

COOKIE = "vlar_session"
VARIABLE = "VLAR_TOKEN"
SHORTEST_TOKEN = 16  # characters
_SESSION_S = 12 * 3600
_MOST_TOKEN_BYTES = 4096


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine reach a host.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token_for(host: str, file: str | None) -> str | None:
    """The token of a server: of ``VLAR_TOKEN`` or a file, which is made where it is missing.

    Args:
        host: What the server listens on; beyond loopback a token is required.
        file: Path of the file; None for none.

    Raises:
        UsageError: a token is required and not given, too short, or cannot be read.
    """
    token = os.environ.get(VARIABLE, "").strip() or (_of_file(Path(file)) if file else "")
    if not token:
        if is_loopback(host):
            return None
        raise UsageError(
            f"--host {host} is reached from other machines, so a token is required; give "
            f"--token-file FILE (it is made where it is missing) or set {VARIABLE}"
        )
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise UsageError(
            f"the token has {len(token)} characters; use at least {SHORTEST_TOKEN} printable ASCII "
            "characters, or delete the file to have one made"
        )
    return token


def _of_file(file: Path) -> str:
    try:
        if not file.exists():
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="ascii") as new:  # noqa: PTH123 - of a descriptor
                new.write(secrets.token_urlsafe(32) + "\n")
        return read_file(file, _MOST_TOKEN_BYTES).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token-file {str(file)!r} cannot be used ({error})") from error


class Access:
    """The checks of one server.

    Args:
        token: What callers must show; None where everything on this machine may ask.
        names: Host names by which the server may be called, besides addresses and ``localhost``.
    """

    def __init__(self, token: str | None, names: Sequence[str] = ()) -> None:
        self._token = None if token is None else _digest(token)
        self._key = partial(_session_key, token)
        hosts = (*names, "localhost", socket.gethostname())
        self._names = frozenset(name.lower().rstrip(".") for name in hosts)

    @property
    def needs_token(self) -> bool:
        """Whether a token is required."""
        return self._token is not None

    def check_host(self, host: str) -> None:
        """Refuse a ``Host`` that is a name of somebody else: a page of theirs would be asking.

        A name can be made to point at this machine (DNS rebinding), an address cannot.

        Raises:
            ServeError: 421.
        """
        name = _without_port(host)
        try:
            ipaddress.ip_address(name)
        except ValueError:
            if name not in self._names:
                fix = "call it by its address, or start it with --allow-host NAME"
                error = f"this server is not called {host[:80]!r}"
                raise ServeError(421, error, fix, "host") from None

    def check_origin(self, headers: Mapping[str, str], *, is_page: bool) -> None:
        """Refuse what another site's page sends.

        Args:
            headers: Headers of the request, lower case.
            is_page: Whether the page itself is asked for, which any site may link to.

        Raises:
            ServeError: 403.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        same_origin = origin is None or origin.partition("://")[2] == headers.get("host")
        if not same_origin or (site in ("cross-site", "same-site") and not is_page):
            error = "the request comes from a page of another site"
            raise ServeError(403, error, "open this server's own page", "origin")

    def check_token(self, headers: Mapping[str, str]) -> None:
        """Refuse a caller without the token or a session.

        Raises:
            ServeError: 401.
        """
        if self._token is None or self._has_session(headers.get("cookie", "")):
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.is_token(token.strip()):
            fix = "send the header Authorization: Bearer TOKEN"
            raise ServeError(401, "the token is missing or wrong", fix, "token")

    def is_token(self, token: str) -> bool:
        """Return whether this is the token; the time does not depend on the value."""
        return self._token is not None and hmac.compare_digest(_digest(token), self._token)

    def new_session(self) -> str:
        """The value of a cookie that stands for the token for 12 hours."""
        until = str(int(time.time()) + _SESSION_S)
        return f"{until}.{self._signature(until)}"

    def _has_session(self, cookies: str) -> bool:
        try:
            cookie = SimpleCookie(cookies).get(COOKIE)
        except CookieError:
            return False
        until, _, signature = (cookie.value if cookie else "").partition(".")
        if not hmac.compare_digest(self._signature(until).encode(), signature.encode()):
            return False
        return until.isdecimal() and int(until) > time.time()

    def _signature(self, text: str) -> str:
        return hmac.new(self._key(), text.encode(), hashlib.sha256).hexdigest()


@lru_cache(maxsize=8)
def _session_key(token: str | None) -> bytes:
    """Key that signs sessions: slowly made of the token, so that all servers of one token agree."""
    if token is None:
        return secrets.token_bytes(32)
    salt = b"vlar: sessions of a server"
    return hashlib.scrypt(token.encode("utf-8", "surrogateescape"), salt=salt, n=2**14, r=8, p=1)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _without_port(host: str) -> str:
    """The name alone.

    >>> _without_port("localhost:80"), _without_port("[::1]:80"), _without_port("::1")
    ('localhost', '::1', '::1')
    """
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() and ":" not in name else host).rstrip(".")


CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
Gauges = Callable[[], dict[str, dict[str, float]]]


class Metrics:
    """Counts requests and their time; other figures are read when they are asked for.

    Args:
        gauges: By the name of a figure, its values by their label (``""`` for none).
    """

    def __init__(self, gauges: Gauges) -> None:
        self._registry = CollectorRegistry()
        names = ["route", "method", "status"]
        self._requests = Counter(
            "vlar_requests", "Requests by route, method and status.", names, registry=self._registry
        )
        self._seconds = Histogram(
            "vlar_request_seconds",
            "Seconds from the first byte of a request to the last of its answer.",
            ["route"],
            buckets=_BOUNDS_S,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(_Gauges(gauges))

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request. ``route`` is its pattern, so that there are few of them."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All figures as Prometheus reads them."""
        return generate_latest(self._registry)


class _Gauges(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Any]:
        for name, values in self._gauges().items():
            label = "name" if "" not in values else None
            family = GaugeMetricFamily(
                f"vlar_{name}", f"Now: {name.replace('_', ' ')}.", labels=[label] if label else []
            )
            for key, value in values.items():
                family.add_metric([key] if label else [], value)
            yield family


_log = logging.getLogger("vlar.apps.serve")
UPLOADS = "/api/uploads"
_OPEN = ("/", "/api/health", "/api/session")  # without a token; the page holds no data
_OPEN_FOLDER = "/page/"
_MOST_DIGITS = 18
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


class RequestGuard:
    """Refuses what may not be asked before anything of it is read."""

    def __init__(self, app: ASGIApp, access: Access, limits: ServeLimits, metrics: Metrics) -> None:
        self._app, self._access, self._limits, self._metrics = app, access, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":  # the start and the end of the server: others are not taken
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        begin_s = time.monotonic()
        try:
            headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
            self._check(scope, headers)
            await self._answered(scope, headers, receive, answer)
        # Answered already, or answered here; a server that stops cancels what takes too long.
        except (Exception, asyncio.CancelledError) as problem:  # noqa: BLE001
            if not answer.is_begun:
                await answer.problem(problem)
        seconds = time.monotonic() - begin_s
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.count(route, _known(scope["method"]), answer.status, seconds)
        # Without the query string, and never a header: neither token nor words are logged.
        _log.debug("%s %s %d %.3f s", scope["method"], route, answer.status, seconds)

    async def _answered(
        self, scope: Scope, headers: Mapping[str, str], receive: Receive, answer: Send
    ) -> None:
        received = await self._body(scope, headers, receive)
        if scope["path"] == UPLOADS:
            await self._app(scope, received, answer)
        else:
            await self._while_asked(scope, received, answer)

    async def _while_asked(self, scope: Scope, received: Receive, send: Send) -> None:
        """Answer a request; its work is ended where the caller leaves."""
        body = [await received()]
        gone = asyncio.ensure_future(received())  # after its body only the end of a request comes

        async def rest() -> Message:
            return body.pop() if body else await asyncio.shield(gone)

        work = asyncio.ensure_future(self._app(scope, rest, send))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            work.cancel()
        with suppress(asyncio.CancelledError):
            await work

    def _check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        path, reads = scope["path"], scope["method"] in ("GET", "HEAD")
        is_page = path == "/" or path.startswith(_OPEN_FOLDER)
        self._access.check_host(headers.get("host", ""))
        self._access.check_origin(headers, is_page=is_page and reads)
        if not is_page and path not in _OPEN:
            self._access.check_token(headers)

    async def _body(self, scope: Scope, headers: Mapping[str, str], receive: Receive) -> Receive:
        """Body for the application: a small one as a whole, an upload as it comes."""
        is_upload = scope["path"] == UPLOADS and scope["method"] == "POST"
        most = self._limits.upload_bytes if is_upload else self._limits.body_bytes
        if "transfer-encoding" in headers and "content-length" in headers:
            # Two lengths of one body: a proxy may believe the other one.
            error = "the body has a Content-Length and a Transfer-Encoding"
            raise ServeError(400, error, "send one of them", "two_lengths")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > _MOST_DIGITS or int(length) > most:
            raise too_large(most)
        limit_s = self._limits.upload_s if is_upload else self._limits.request_s
        timed = _timed(receive, limit_s)
        return timed if is_upload else await _whole(timed, most)


class _Answer:
    """Sends an answer with the server's headers.

    Attributes:
        is_begun: Whether its first part was sent.
        status: Status of the answer; 499 where the caller was gone before.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.is_begun = False
        self.status = 499

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_begun, self.status = True, message["status"]
            header_names = {name for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *(
                    (k.encode(), v.encode())
                    for k, v in HEADERS.items()
                    if k.encode() not in header_names
                ),
            ]
        await self._send(message)

    async def problem(self, problem: BaseException) -> None:
        """Answer with an error."""
        status, body, extra = answer_of(problem)
        content = json.dumps(body).encode()
        headers = {"content-type": "application/json", "content-length": str(len(content)), **extra}
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": status, "headers": pairs})
        await self({"type": "http.response.body", "body": content})


def _known(method: str) -> str:
    """A method for a figure; callers may invent any number of them."""
    return method if method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS") else "other"


def _timed(receive: Receive, limit_s: float) -> Receive:
    """Messages that must all come within a limit of seconds."""
    end_s = time.monotonic() + limit_s
    is_whole = False

    async def timed() -> Message:
        nonlocal is_whole
        if is_whole:  # what follows is the end of the connection, which may take its time
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), max(0.0, end_s - time.monotonic()))
        except (asyncio.TimeoutError, TimeoutError):
            error = f"the body did not arrive within {limit_s:g} s"
            raise ServeError(408, error, "send it again", "slow_body") from None
        is_whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    return timed


async def _whole(receive: Receive, most: int) -> Receive:
    """A body that was read to its end, given as one message."""
    pieces: list[bytes] = []
    size, more = 0, True
    while more:
        message: dict[str, Any] = dict(await receive())
        if message["type"] != "http.request":
            break
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > most:
            raise too_large(most)
        more = message.get("more_body", False)
    waiting = [{"type": "http.request", "body": b"".join(pieces), "more_body": False}]

    async def received() -> Message:
        return waiting.pop() if waiting else await receive()

    return received

"""What stands before every request: who asks, from where, how much, and what answers carry."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vlar.serve.access import Access
from vlar.serve.errors import ServeError, answer_of
from vlar.serve.limits import ServeLimits
from vlar.serve.metrics import Metrics
from vlar.serve.uploads import too_large

_log = logging.getLogger("vlar.serve")
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


class Guard:
    """Refuses what may not be asked before anything of it is read.

    Args:
        app: Answers the rest.
        access: Who may ask.
        limits: How large a body may be, and how long it may take.
        metrics: Counts requests.
    """

    def __init__(self, app: ASGIApp, access: Access, limits: ServeLimits, metrics: Metrics) -> None:
        self._app, self._access, self._limits, self._metrics = app, access, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        begin_s = time.monotonic()
        try:
            headers = _headers(scope)
            self._check(scope, headers)
            received = await self._body(scope, headers, receive)
            await self._app(scope, received, answer)
        except Exception as problem:  # noqa: BLE001 - answered already, or answered here
            if not answer.is_begun:
                await answer.problem(problem)
        seconds = time.monotonic() - begin_s
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.count(route, _known(scope["method"]), answer.status, seconds)
        # Without the query string, and never a header: neither token nor words are logged.
        _log.debug("%s %s %d %.3f s", scope["method"], route, answer.status, seconds)

    def _check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        path, reads = scope["path"], scope["method"] in ("GET", "HEAD")
        is_page = path == "/" or path.startswith(_OPEN_FOLDER)
        self._access.check_host(headers.get("host", ""))
        self._access.check_origin(headers, is_page=is_page and reads)
        if not is_page and path not in _OPEN:
            self._access.check_token(headers)

    async def _body(self, scope: Scope, headers: Mapping[str, str], receive: Receive) -> Receive:
        """What the application receives: a small body as a whole, an upload as it comes."""
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
        status: Of the answer; 499 where the caller was gone before.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.is_begun = False
        self.status = 499

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_begun, self.status = True, message["status"]
            own = {name for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *((k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in own),
            ]
        await self._send(message)

    async def problem(self, problem: Exception) -> None:
        """Answer with an error."""
        status, body, extra = answer_of(problem)
        content = json.dumps(body).encode()
        headers = {"content-type": "application/json", "content-length": str(len(content)), **extra}
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": status, "headers": pairs})
        await self({"type": "http.response.body", "body": content})


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


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

"""Who may ask: hosts by which the server may be called, a token, and sessions of browsers."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from vlar.errors import UsageError
from vlar.safety.files import read_file
from vlar.serve.errors import ServeError

COOKIE = "vlar_session"
VARIABLE = "VLAR_TOKEN"
SHORTEST_TOKEN = 16  # characters
_SESSION_S = 12 * 3600
_MOST_TOKEN_BYTES = 4096


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach a host.

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
        own = (*names, "localhost", socket.gethostname())
        self._names = frozenset(name.lower().rstrip(".") for name in own)

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
            headers: Of the request, lower case.
            is_page: Whether the page itself is asked for, which any site may link to.

        Raises:
            ServeError: 403.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        own = origin is None or origin.partition("://")[2] == headers.get("host")
        if not own or (site in ("cross-site", "same-site") and not is_page):
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
        """Whether this is the token; it takes the same time whatever is given."""
        return self._token is not None and hmac.compare_digest(_digest(token), self._token)

    def new_session(self) -> str:
        """The value of a cookie that stands for the token for 12 hours."""
        until = str(int(time.time()) + _SESSION_S)
        return f"{until}.{self._signature(until)}"

    def _has_session(self, cookies: str) -> bool:
        try:
            found = SimpleCookie(cookies).get(COOKIE)
        except CookieError:
            return False
        until, _, signature = (found.value if found else "").partition(".")
        if not hmac.compare_digest(self._signature(until).encode(), signature.encode()):
            return False
        return until.isdecimal() and int(until) > time.time()

    def _signature(self, text: str) -> str:
        return hmac.new(self._key(), text.encode(), hashlib.sha256).hexdigest()


@lru_cache(maxsize=8)
def _session_key(token: str | None) -> bytes:
    """What signs sessions: slowly made of the token, so that all servers of one token agree."""
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

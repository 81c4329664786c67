"""One question to an OpenAI-compatible chat server, asked again where that helps.

The standard library's client: transformers has changed its HTTP library three times, and all that
is needed here is one POST. Redirects are refused, so that the key goes nowhere else.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import IO, Any, cast
from urllib.parse import urlsplit, urlunsplit

from vlar.describing.base import NoAnswerError, RefusedError
from vlar.errors import UsageError

_ATTEMPTS = 5
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 120.0
_LARGEST_ANSWER = 16_000_000  # bytes
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529)
_ADVICE = {
    401: "the key is refused: set OPENAI_API_KEY to a valid key of this server",
    403: "the key may not use this model or server: check OPENAI_API_KEY and the account",
    404: "there is no such address or model: check the model's name, and that OPENAI_BASE_URL "
    "ends where the API begins (mostly in /v1)",
    405: "this address takes no questions: check that OPENAI_BASE_URL ends where the API begins "
    "(mostly in /v1)",
}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Gives a redirect back as the error that it is to a question with a key."""

    def redirect_request(
        self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """Follow nothing."""
        del req, fp, code, msg, headers, newurl


class _Again(Exception):  # noqa: N818 - never leaves this module
    """A failure that may pass; ``wait_s`` is what the server asks for."""

    def __init__(self, what: str, wait_s: float | None = None, reached: bool = True) -> None:
        super().__init__(what)
        self.wait_s = wait_s
        self.reached = reached


class ChatServer:
    """A chat endpoint.

    Args:
        base_url: Up to and without ``/chat/completions``.
        key: Sent as bearer token; None for a server that wants none. Never shown.
        timeout_s: For a connection, and for each silence while waiting for the answer.
        pause_s: Before the second attempt; it doubles from one to the next.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None,
        *,
        timeout_s: float = 120.0,
        pause_s: float | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(
                f"OPENAI_BASE_URL {_shown(base_url)!r} is no address; write for example "
                "http://localhost:8000/v1"
            )
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise UsageError(
                f"OPENAI_BASE_URL ({_shown(base_url)} and more) must be a bare address; put the "
                "key into OPENAI_API_KEY"
            )
        if key is not None and not (key.isascii() and key.isprintable()):
            raise UsageError("OPENAI_API_KEY holds characters no key has; copy it again")
        self.address = _shown(base_url)
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._key = key
        self._timeout_s = timeout_s
        self._pause_s = _FIRST_PAUSE_S if pause_s is None else pause_s
        self._stopped = threading.Event()
        self._opener = urllib.request.build_opener(_NoRedirect)

    def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """The server's answer to a request.

        Raises:
            NoAnswerError: not to this one, also after several attempts.
            RefusedError: not to any.
        """
        pause_s = self._pause_s
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._once(body)
            except _Again as failure:
                if attempt == _ATTEMPTS or self._stopped.is_set():
                    raise self._given_up(failure, attempt) from failure
                wait_s = pause_s * random.uniform(0.75, 1.25)
                wait_s = wait_s if failure.wait_s is None else failure.wait_s
                if wait_s > _LONGEST_PAUSE_S:
                    raise self._given_up(failure, attempt) from failure
            self._stopped.wait(wait_s)
            pause_s *= 2
        raise AssertionError("the last attempt answers or raises")

    def close(self) -> None:
        """No further attempts."""
        self._stopped.set()

    def _once(self, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "User-Agent": "vlar"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        data = json.dumps(body).encode()
        request = urllib.request.Request(self._url, data, headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                content = response.read(_LARGEST_ANSWER)
        except urllib.error.HTTPError as error:
            with error:
                raise self._status(error) from error
        except TimeoutError as error:
            raise _Again(f"did not answer within {self._timeout_s:g} s") from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise _Again(f"did not answer within {self._timeout_s:g} s") from error
            raise _Again(f"cannot be reached ({error.reason})", reached=False) from error
        except (http.client.HTTPException, OSError) as error:
            raise _Again(f"broke off ({type(error).__name__})") from error
        return self._parsed(content)

    def _parsed(self, content: bytes) -> dict[str, Any]:
        try:
            answer: Any = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise _Again("answered something that is no JSON") from error
        if not isinstance(answer, dict):
            raise _Again("answered JSON that is no object")
        return cast("dict[str, Any]", answer)

    def _status(self, error: urllib.error.HTTPError) -> Exception:
        said = self._said(error)
        if error.code in _AGAIN:
            return _Again(f"answered HTTP {error.code}{said}", _retry_after(error))
        if 300 <= error.code < 400:
            where = _shown(error.headers.get("Location") or "elsewhere")
            return RefusedError(
                f"{self.address} redirects to {where}; the key is sent nowhere else: set "
                "OPENAI_BASE_URL to where the API is"
            )
        if advice := _ADVICE.get(error.code):
            return RefusedError(f"{self.address} answered HTTP {error.code}{said}; {advice}")
        return NoAnswerError(
            f"{self.address} answered HTTP {error.code}{said}; if the question is too long, use a "
            "smaller --batch"
        )

    def _said(self, error: urllib.error.HTTPError) -> str:
        try:
            data: Any = json.loads(error.read(20_000))
            detail = data["error"]
            detail = detail["message"] if isinstance(detail, dict) else detail
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
            return ""
        text = " ".join(str(detail).split())
        if self._key:
            text = text.replace(self._key, "[key]")
        return f" ({text[:300]})" if text else ""

    def _given_up(self, failure: _Again, attempts: int) -> NoAnswerError | RefusedError:
        if not failure.reached:
            return RefusedError(
                f"{self.address} {failure}; is the server running, and is OPENAI_BASE_URL right?"
            )
        if failure.wait_s is not None and failure.wait_s > _LONGEST_PAUSE_S:
            return NoAnswerError(
                f"{self.address} {failure} and asks to wait {failure.wait_s:.0f} s; run the same "
                "command again then"
            )
        times = "once" if attempts == 1 else f"{attempts} times"
        return NoAnswerError(
            f"{self.address} {failure}, {times}; run the same command again later to go on"
        )


def _retry_after(error: urllib.error.HTTPError) -> float | None:
    value = error.headers.get("Retry-After")
    if value is None:
        return None
    parsers: tuple[Callable[[str], float], ...] = (float, _seconds_until)
    for parse in parsers:
        try:
            seconds = parse(value.strip())
        except (ValueError, TypeError, OverflowError):
            continue
        return max(0.0, seconds) if seconds == seconds else None
    return None


def _seconds_until(value: str) -> float:
    moment = parsedate_to_datetime(value)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return (moment - datetime.now(timezone.utc)).total_seconds()


def _shown(url: str) -> str:
    """An address without a user, password or query, which may be secret."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))

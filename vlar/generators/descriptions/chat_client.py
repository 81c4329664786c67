"""An HTTP client for OpenAI-compatible chat servers: one POST, with retries.

It uses the standard library: transformers has changed its HTTP library three times, and one POST
is all that is needed. Redirects are refused, so that the key goes nowhere else.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import IO, Any, cast
from urllib.parse import urlsplit, urlunsplit

from vlar.errors import UsageError
from vlar.generators.descriptions.base import (
    AnswerTimeoutError,
    BadRequestError,
    NoAnswerError,
    RefusedError,
)

HOSTED = "https://api.openai.com/v1"
_ATTEMPTS = 5
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 120.0
_LARGEST_ANSWER = 16_000_000  # bytes
#: HTTP statuses that may pass.
_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529)
_BAD_REQUEST = (400, 422)
_FIELDS = ("max_tokens", "max_completion_tokens", "response_format", "schema", "grammar", "extra")
_ADVICE = {
    401: "the key is refused: set OPENAI_API_KEY to a valid key of this server",
    403: "the key may not use this model or server: check OPENAI_API_KEY and the account",
    404: "the address or the model does not exist: check the model's name, and that "
    "OPENAI_BASE_URL ends where the API begins (mostly in /v1)",
    405: "this address takes no questions: check that OPENAI_BASE_URL ends where the API begins ",
}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Returns a redirect as an error, because the request holds a key."""

    def redirect_request(
        self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """Follow no redirect."""


class _RetryableError(Exception):
    """A failure that may pass; ``wait_s`` is the pause that the server asks for."""

    def __init__(
        self, what: str, wait_s: float | None = None, *, reached: bool = True, late: bool = False
    ) -> None:
        super().__init__(what)
        self.wait_s, self.reached, self.late = wait_s, reached, late


class ChatClient:
    """Client of one chat endpoint.

    Args:
        base_url: The URL without ``/chat/completions``.
        key: Bearer token; None for a server without keys. It is never shown.
        timeout_s: Seconds, for the connection and for each silence while waiting for the answer.
        pause_s: Seconds before the second attempt; each further pause is twice as long.
        attempts: How often a question is asked at most, where a failure may pass.
        if_too_long: What to do about a question that is too long, for a message.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None,
        *,
        timeout_s: float = 120.0,
        pause_s: float | None = None,
        attempts: int = _ATTEMPTS,
        if_too_long: str = "use a smaller --batch",
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(
                f"OPENAI_BASE_URL {_shown(base_url)!r} is not an address; write for example "
                "http://localhost:8000/v1"
            )
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise UsageError(
                f"OPENAI_BASE_URL ({_shown(base_url)} and more) must be a bare address; put the "
                "key into OPENAI_API_KEY"
            )
        if key is not None and not (key.isascii() and key.isprintable()):
            raise UsageError("OPENAI_API_KEY has characters that no key has; copy it again")
        self.address = _shown(base_url)
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._key = key
        self._timeout_s = timeout_s
        self._attempts, self._if_too_long = attempts, if_too_long
        self._pause_s = _FIRST_PAUSE_S if pause_s is None else pause_s
        self._stopped = threading.Event()
        self._opener = urllib.request.build_opener(_NoRedirect)

    def post(self, body: dict[str, Any]) -> dict[str, Any]:
        """The server's answer to a request.

        Raises:
            BadRequestError: the server does not take the request as it is written.
            NoAnswerError: this request got no answer, also after several attempts.
            RefusedError: no request will get an answer.
        """
        pause_s = self._pause_s
        for attempt in range(1, self._attempts + 1):
            try:
                return self._once(body)
            except _RetryableError as failure:
                if attempt == self._attempts or self._stopped.is_set():
                    raise self._given_up(failure, attempt) from failure
                wait_s = pause_s * random.uniform(0.75, 1.25)
                wait_s = wait_s if failure.wait_s is None else failure.wait_s
                if wait_s > _LONGEST_PAUSE_S:
                    raise self._given_up(failure, attempt) from failure
            self._stopped.wait(wait_s)
            pause_s *= 2
        raise AssertionError("the last attempt answers or raises")

    def close(self) -> None:
        """Stop further attempts."""
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
            raise self._too_late() from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise self._too_late() from error
            raise _RetryableError(f"cannot be reached ({error.reason})", reached=False) from error
        except (http.client.HTTPException, OSError) as error:
            raise _RetryableError(f"broke off ({type(error).__name__})") from error
        try:
            answer: Any = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise _RetryableError("answered something that is not JSON") from error
        if not isinstance(answer, dict):
            raise _RetryableError("answered JSON that is not an object")
        return cast("dict[str, Any]", answer)

    def _too_late(self) -> _RetryableError:
        return _RetryableError(f"did not answer within {self._timeout_s:g} s", late=True)

    def _status(self, error: urllib.error.HTTPError) -> Exception:
        detail = self._error_detail(error)
        if error.code in _RETRIED:
            return _RetryableError(f"answered HTTP {error.code}{detail}", _retry_after(error))
        if 300 <= error.code < 400:
            where = _shown(error.headers.get("Location") or "elsewhere")
            return RefusedError(
                f"{self.address} redirects to {where}; the key is sent nowhere else: set "
                "OPENAI_BASE_URL to where the API is"
            )
        if advice := _ADVICE.get(error.code):
            return RefusedError(f"{self.address} answered HTTP {error.code}{detail}; {advice}")
        field = not detail or any(name in detail.lower() for name in _FIELDS)
        kind = BadRequestError if field and error.code in _BAD_REQUEST else NoAnswerError
        return kind(
            f"{self.address} answered HTTP {error.code}{detail}; if the question is too long, "
            f"{self._if_too_long}"
        )

    def _error_detail(self, error: urllib.error.HTTPError) -> str:
        try:
            data: Any = json.loads(error.read(20_000))
            detail = data["error"] if "error" in data else data["detail"]
            detail = detail["message"] if isinstance(detail, dict) else detail
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
            return ""
        text = " ".join(str(detail).split())
        if self._key:
            text = text.replace(self._key, "[key]")
        return f" ({text[:300]})" if text else ""

    def _given_up(self, failure: _RetryableError, attempts: int) -> NoAnswerError | RefusedError:
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
        kind = AnswerTimeoutError if failure.late else NoAnswerError
        return kind(
            f"{self.address} {failure}, {times}; run the same command again later to resume"
        )


def connect(*, attempts: int = _ATTEMPTS, if_too_long: str = "use a smaller --batch") -> ChatClient:
    """The client of the server that OPENAI_BASE_URL and OPENAI_API_KEY name.

    ``VLAR_LLM_TIMEOUT_S`` is how many seconds an answer may take, 120 by default.

    Raises:
        UsageError: the address is unusable, or a key is needed and missing.
    """
    base_url = os.environ.get("OPENAI_BASE_URL", "").strip() or HOSTED
    key = os.environ.get("OPENAI_API_KEY", "").strip() or None
    if key is None and base_url == HOSTED:
        raise UsageError(
            "OPENAI_API_KEY is not set; set it, or set OPENAI_BASE_URL to a server that needs "
            "no key, such as http://localhost:8000/v1"
        )
    return ChatClient(
        base_url, key, timeout_s=_timeout_s(), attempts=attempts, if_too_long=if_too_long
    )


def _timeout_s() -> float:
    given = os.environ.get("VLAR_LLM_TIMEOUT_S", "120")
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"VLAR_LLM_TIMEOUT_S {given!r} is not a number of seconds above 0")
    return seconds


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
    """The URL without user, password and query, which may be secret."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))

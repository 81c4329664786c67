"""The client of chat servers with OpenAI's API, for every task: one POST, with retries.

It uses the standard library. ``InferenceClient`` of huggingface_hub sends HF_TOKEN to the user's
server, follows redirects, reads endless answers and refuses localhost when HF_HUB_OFFLINE is set.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

from vlar.errors import UsageError, VlarError
from vlar.files.http import ask
from vlar.types import JsonDict

HOSTED = "https://api.openai.com/v1"
_ATTEMPTS = 5
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 120.0
_LARGEST_ANSWER = 16_000_000  # bytes
#: HTTP statuses that may pass.
_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529)
_BAD_REQUEST = (400, 422)
#: Words of fields that some servers lack.
_FIELDS = (
    *("max_tokens", "max_completion_tokens", "response_format", "schema", "grammar", "extra"),
    *("logprobs", "temperature"),
)
_ADVICE = {
    401: "the key is refused: set OPENAI_API_KEY to a valid key of this server",
    403: "the key may not use this model or server: check OPENAI_API_KEY and the account",
    404: "the address or the model does not exist: check the model's name, and that "
    "OPENAI_BASE_URL ends where the API begins (mostly in /v1)",
    405: "this address takes no questions: check that OPENAI_BASE_URL ends where the API begins ",
}


class NoAnswerError(VlarError):
    """A question got no usable answer; other questions may get one."""

    kind = "no_answer"


class AnswerTimeoutError(NoAnswerError):
    """An answer did not come in time."""

    kind = "timeout"


class BadRequestError(NoAnswerError):
    """The server refuses a field of the request, or does not give a reason; others may pass."""


class RefusedError(VlarError):
    """No question can get an answer: the key, the address or the model is wrong."""

    kind = "refused"


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
        timeout_s: Seconds, for the connection, for each silence and for the body of the answer.
        pause_s: Seconds before the second attempt; each further pause is twice as long.
        attempts: How often a question is asked at most, where a failure may pass.
        if_too_long: What to do about a question that is too long, for a message.

    Raises:
        UsageError: the address or the key is unusable.
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
        self._key, self._timeout_s = key, timeout_s
        self._attempts, self._if_too_long = attempts, if_too_long
        self._pause_s = _FIRST_PAUSE_S if pause_s is None else pause_s
        self._stopped = threading.Event()
        self._way = 0  # of ``ask``: the fullest that the server took

    def ask(self, body: JsonDict, ways: Sequence[JsonDict] = ({},)) -> JsonDict:
        """The server's answer with a message in ``choices[0]``.

        Args:
            body: Fields of the request.
            ways: Further fields, the fullest first. Servers disagree on them; what a server took is
                asked for from then on, so that a client always gets equal ways.

        Raises:
            NoAnswerError: no way got an answer with a message.
            RefusedError: no request will get an answer.
        """
        refused: BadRequestError | None = None
        for way in range(self._way, len(ways)):
            try:
                answer = self.post({**body, **ways[way]})
            except BadRequestError as error:
                refused = refused or error
                continue
            self._way = way
            try:
                if isinstance(answer["choices"][0]["message"], dict):
                    return answer
            except (KeyError, IndexError, TypeError):
                pass
            raise self.no_message()
        assert refused is not None
        raise refused

    def no_message(self) -> NoAnswerError:
        """The error for an answer without a message."""
        return NoAnswerError(
            f"{self.address} answered without a message (choices[0].message.content); is it a chat "
            "server?"
        )

    def post(self, body: JsonDict) -> JsonDict:
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
                wait_s = failure.wait_s
                if wait_s is None:
                    wait_s = pause_s * random.uniform(0.75, 1.25)
                last = attempt == self._attempts or self._stopped.is_set()
                if last or wait_s > _LONGEST_PAUSE_S:
                    raise self._given_up(failure, attempt) from failure
            self._stopped.wait(wait_s)
            pause_s *= 2
        raise AssertionError("the last attempt answers or raises")

    def close(self) -> None:
        """Stop further attempts."""
        self._stopped.set()

    def _once(self, body: JsonDict) -> JsonDict:
        headers = {"Content-Type": "application/json", "User-Agent": "vlar"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        data = json.dumps(body).encode()
        request = urllib.request.Request(self._url, data, headers, method="POST")
        try:
            with ask(request, self._timeout_s) as response:
                content = self._body(response)
        except urllib.error.HTTPError as error:
            with error:
                raise self._status(error) from error
        except OSError as error:
            raise self._broken(error) from error
        try:
            answer: Any = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise _RetryableError("answered something that is not JSON") from error
        if not isinstance(answer, dict):
            raise _RetryableError("answered JSON that is not an object")
        return cast("JsonDict", answer)

    def _body(self, response: Any) -> bytes:
        """The body, up to a size and within a time: a server may send byte by byte."""
        end_s, content = time.monotonic() + self._timeout_s, bytearray()
        while len(content) < _LARGEST_ANSWER and (part := response.read1(1 << 16)):
            content += part
            if time.monotonic() > end_s:
                raise TimeoutError
        return bytes(content)

    def _broken(self, error: Exception) -> _RetryableError:
        if isinstance(error, TimeoutError) or isinstance(
            getattr(error, "reason", None), TimeoutError
        ):
            return _RetryableError(f"did not answer within {self._timeout_s:g} s", late=True)
        if isinstance(error, urllib.error.URLError):
            return _RetryableError(f"cannot be reached ({error.reason})", reached=False)
        return _RetryableError(f"broke off ({type(error.__cause__ or error).__name__})")

    def _status(self, error: urllib.error.HTTPError) -> Exception:
        detail = self._error_detail(error)
        if error.code in _RETRIED:
            wait_s = _retry_after(error.headers.get("Retry-After"))
            return _RetryableError(f"answered HTTP {error.code}{detail}", wait_s)
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
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            RecursionError,
            http.client.HTTPException,
        ):
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
    timeout = os.environ.get("VLAR_LLM_TIMEOUT_S", "120")
    try:
        timeout_s = float(timeout)
    except ValueError:
        timeout_s = 0.0
    if not 0 < timeout_s < float("inf"):
        raise UsageError(f"VLAR_LLM_TIMEOUT_S {timeout!r} is not a number of seconds above 0")
    return ChatClient(
        base_url, key, timeout_s=timeout_s, attempts=attempts, if_too_long=if_too_long
    )


def _retry_after(value: str | None) -> float | None:
    """Seconds of a header ``Retry-After``: a number of them, or a date."""
    parsers: tuple[Callable[[str], float], ...] = (float, _seconds_until)
    for parse in parsers if value is not None else ():
        try:
            seconds = parse(str(value).strip())
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

"""Errors of a server: a status, what happened and what to do, as one JSON object."""

from __future__ import annotations

import errno
import logging
import sqlite3
from dataclasses import dataclass

from vlar.errors import (
    DecodeError,
    DecodeTimeout,
    EncoderMismatchError,
    LabelConflictError,
    LibraryError,
    LibraryLockedError,
    ModelError,
    QueryError,
    TagConflictError,
    UsageError,
    VlarError,
    one_line,
)
from vlar.library.query.grammar import QuerySyntaxError
from vlar.types import JsonDict

_log = logging.getLogger("vlar")
RETRY_S = 2


class ServeError(VlarError):
    """A request that cannot be answered.

    Args:
        status: Status of HTTP.
        error: What happened, with the value.
        fix: What to do.
        kind: Stable name.
        retry_s: Seconds after which the same request may work; None where it never will.
    """

    def __init__(
        self, status: int, error: str, fix: str, kind: str, retry_s: int | None = None
    ) -> None:
        super().__init__(f"{error}; {fix}")
        self.status, self.error, self.fix, self.retry_s = status, one_line(error), fix, retry_s
        self.kind = kind


class DiskFullError(VlarError):
    """The disk of the server is full; the message has no path of it."""

    kind = "full"


def busy(what: str) -> ServeError:
    """More callers wait than the server holds."""
    return ServeError(503, f"too many requests wait for {what}", "send it again later", "busy", 1)


def too_slow(limit_s: float) -> ServeError:
    """A request ran out of time."""
    fix = "ask for less, or again later"
    return ServeError(504, f"no answer within {limit_s:g} s", fix, "timeout")


_STATUS: tuple[tuple[type[VlarError], int], ...] = (
    (LibraryLockedError, 423),
    (TagConflictError, 409),
    (LabelConflictError, 409),
    (EncoderMismatchError, 409),
    (LibraryError, 503),
    (DecodeTimeout, 504),
    (DecodeError, 422),
    (ModelError, 409),
    (QueryError, 400),
    (UsageError, 400),
)


def answer_of(problem: BaseException) -> tuple[int, JsonDict, dict[str, str]]:
    """Status, JSON object and headers of an error. One that is not expected is logged.

    >>> answer_of(QueryError("k is 0; ask for at least 1 answer"))[:2]
    (400, {'error': 'k is 0', 'fix': 'ask for at least 1 answer', 'kind': 'query'})
    """
    if not isinstance(problem, Exception):  # cancelled
        problem = ServeError(503, "the server stops", "ask again when it is back", "busy")
    if is_full_disk(problem):
        fix = "make room in the server's folder, or start it with another --state"
        problem = ServeError(507, "the server's disk is full", fix, "full")
    if isinstance(problem, ServeError):
        body: JsonDict = {"error": problem.error, "fix": problem.fix, "kind": problem.kind}
        return problem.status, body, _retry(problem.retry_s)
    if not isinstance(problem, VlarError):
        _log.error("a request failed: %s", one_line(repr(problem)))
        _log.debug("where it failed", exc_info=problem)
        fix = "send it again; if it fails again, report the line in the server's log"
        return 500, {"error": "the server failed on this", "fix": fix, "kind": "internal"}, {}
    status = next((code for kind, code in _STATUS if isinstance(problem, kind)), 400)
    error, fix = split(problem.message)
    body = {"error": error, "fix": fix, "kind": problem.kind}
    if isinstance(problem, QuerySyntaxError):
        body |= {"query": problem.query, "position": problem.position}
    return status, body, _retry(RETRY_S if status in (423, 503) else None)


def is_full_disk(problem: BaseException | None) -> bool:
    """Return whether an error, or what led to it, is that a disk is full."""
    while problem is not None:
        if isinstance(problem, DiskFullError):
            return True
        if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if isinstance(problem, sqlite3.OperationalError) and "disk is full" in str(problem):
            return True
        problem = problem.__cause__ or problem.__context__
    return False


def split(message: str) -> tuple[str, str]:
    """A message of vlar as what happened and what to do; they are joined by the last semicolon."""
    error, _, fix = message.rpartition("; ")
    return (error, fix) if error else (fix, "see the documentation")


def _retry(seconds: int | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": str(seconds)}


MB = 1 << 20


@dataclass(frozen=True)
class ServeLimits:
    """Limits of one server.

    Attributes:
        upload_bytes: Bytes of one uploaded file.
        stored_bytes: Bytes of all uploads together; the oldest are deleted first.
        joined_bytes: Bytes of uploads that joined the library, which are never deleted.
        video_s: Seconds that a recording to classify may last.
        span_s: Seconds of a span that is cut for playback.
        request_s: Seconds of one request, without the time of an upload.
        stream_s: Seconds of a request that answers part by part.
        upload_s: Seconds that the body of a request may take to arrive.
        waiting: Requests of one kind that wait for their turn; further ones are refused.
        jobs: Jobs that wait; further ones are refused.
        labels: Labels of one request.
        examples: Examples of one adaptation.
        body_bytes: Bytes of a request that is not an upload.
        connections: Open connections.
    """

    upload_bytes: int = 500 * MB
    stored_bytes: int = 2000 * MB
    joined_bytes: int = 20_000 * MB
    video_s: float = 3600.0
    span_s: float = 60.0
    request_s: float = 60.0
    stream_s: float = 1200.0
    upload_s: float = 600.0
    waiting: int = 64
    jobs: int = 20
    labels: int = 1000
    examples: int = 500
    body_bytes: int = 1 * MB
    connections: int = 256

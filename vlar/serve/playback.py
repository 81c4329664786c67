"""Sending a file, or the range of it that a player asks for."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

from anyio import to_thread
from starlette.responses import Response, StreamingResponse

from vlar.serve.confine import open_inside
from vlar.serve.errors import ServeError
from vlar.serve.sniff import HEAD_BYTES, PLAYABLE, container_of

_PIECE = 256 << 10
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def file_response(path: Path, ranges: str | None) -> Response:
    """A file as it is, where browsers play its kind of video.

    Raises:
        ServeError: 410 gone, 415 another kind, 416 a range beyond its end.
    """
    descriptor = open_inside(path)
    try:
        return _response(descriptor, _playable(descriptor, path), ranges)
    except BaseException:
        os.close(descriptor)
        raise


def _playable(descriptor: int, path: Path) -> str:
    container = container_of(os.pread(descriptor, HEAD_BYTES, 0))
    if container in PLAYABLE:
        return PLAYABLE[container]
    error = f"{path.name}: browsers do not play this kind of file"
    raise ServeError(415, error, "ask for a span of it: GET .../span", "type")


def byte_range(ranges: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte of a ``Range``; None for the whole file.

    Several ranges, and units other than bytes, are answered with the whole file (RFC 9110, 14.2).

    >>> byte_range("bytes=2-", 10), byte_range("bytes=-3", 10), byte_range(None, 10)
    ((2, 9), (7, 9), None)

    Raises:
        ServeError: 416 where it begins beyond the end.
    """
    match = _RANGE.fullmatch((ranges or "").strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1]:
        first, last = int(match[1]), min(int(match[2] or size), size - 1)
        if match[2] and int(match[2]) < first:
            return None  # not a range
    else:
        first, last = max(size - int(match[2]), 0), size - 1
    if first > last:
        error = f"the range {match[0]} lies beyond the {size} bytes of the file"
        raise ServeError(416, error, "ask for an earlier one", "range")
    return first, last


def _response(descriptor: int, kind: str, ranges: str | None) -> Response:
    size = os.fstat(descriptor).st_size
    chosen = byte_range(ranges, size)
    first, last = chosen or (0, size - 1)
    headers = {
        "accept-ranges": "bytes",
        "content-length": str(last - first + 1),
        "cache-control": "private, max-age=3600",
    }
    if chosen is not None:
        headers["content-range"] = f"bytes {first}-{last}/{size}"
    status = 200 if chosen is None else 206
    pieces = _pieces(descriptor, first, last + 1)
    return _ClosingResponse(descriptor, pieces, status, headers, kind)


async def _pieces(descriptor: int, at: int, end: int) -> AsyncIterator[bytes]:
    while at < end:
        piece = await to_thread.run_sync(os.pread, descriptor, min(_PIECE, end - at), at)
        if not piece:
            return  # the file became shorter: the connection ends before the stated length
        at += len(piece)
        yield piece


class _ClosingResponse(StreamingResponse):
    """A stream that closes its file, whether or not it was sent to its end."""

    def __init__(
        self,
        descriptor: int,
        pieces: AsyncIterator[bytes],
        status: int,
        headers: dict[str, str],
        kind: str,
    ) -> None:
        super().__init__(pieces, status, headers, kind)
        self._descriptor = descriptor

    async def __call__(self, *arguments: object) -> None:
        try:
            await super().__call__(*arguments)  # pyright: ignore[reportArgumentType]
        finally:
            os.close(self._descriptor)

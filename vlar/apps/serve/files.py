"""Sending a file, or the range of it that a player asks for."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

from anyio import to_thread
from starlette.responses import Response, StreamingResponse

from vlar.apps.serve.errors import ServeError
from vlar.errors import one_line
from vlar.files.opening import open_input
from vlar.formatting import is_url
from vlar.media.bundle import bundle_files

_LONGEST = 4096
_WIDEST = 64  # folders that are roots by themselves


class AllowedFolders:
    """Folders whose files may be read; links are followed before a path is compared with them.

    Args:
        folders: The roots. One that does not exist is left out.
    """

    def __init__(self, folders: Iterable[str | Path]) -> None:
        real = {Path(os.path.realpath(folder)) for folder in folders}
        self.folders = tuple(sorted(folder for folder in real if folder.is_dir()))

    @classmethod
    def around(cls, recordings: Sequence[str]) -> AllowedFolders:
        """The folders that hold some recordings, each as deep as it can be.

        Of more than 64 folders the highest ones that are not the root of the disk are taken.
        """
        folders = {os.path.dirname(path) for path in recordings}  # noqa: PTH120 - many paths
        while len(folders) > _WIDEST:
            higher = {os.path.dirname(folder) for folder in folders}  # noqa: PTH120
            if any(len(Path(folder).parts) < 3 for folder in higher):
                break
            folders = higher
        return cls(folder for folder in folders if len(Path(folder).parts) > 1)

    def real(self, path: str) -> Path:
        """The real path of something inside a root; the parts of a bundle lie inside one too.

        Raises:
            ServeError: 400 where it cannot be a path, 403 outside all roots, 404 where nothing is.
        """
        if not path or "\0" in path or len(path) > _LONGEST:
            raise ServeError(400, f"{path[:80]!r} is not a path", "write one on one line", "path")
        require_here(path)
        try:
            real = Path(os.path.realpath(os.path.expanduser(path)))  # noqa: PTH111 - one call
        except (OSError, ValueError) as error:
            raise ServeError(400, f"{path[:80]!r}: {error}", "check the path", "path") from error
        if not any(real.is_relative_to(root) for root in self.folders):
            # The same answer whether it exists or not: nobody learns what lies outside.
            error = f"{one_line(path)} lies outside the folders that this server may read"
            raise ServeError(403, error, "start it with --root FOLDER", "outside")
        if not real.exists():
            error = f"{one_line(path)}: no such file"
            raise ServeError(404, error, "check the path", "not_found")
        for part in bundle_files(real):
            self.real(str(part))
        return real

    def recording(self, path: str) -> Path:
        """The real path of a recording of the library.

        Raises:
            ServeError: 403 outside all roots, 410 where it has moved.
        """
        try:
            return self.real(path)
        except ServeError as problem:
            if problem.status != 404:
                raise
            fix = "index it at its new place: vlar index add LIBRARY FOLDER"
            raise ServeError(410, f"{one_line(path)} has moved", fix, "moved") from problem


def require_here(path: str) -> None:
    """Refuse an address and an archive: a server reads files and folders of its roots alone.

    Raises:
        ServeError: 415.
    """
    if is_url(path) or path.lower().endswith(".tar"):
        error = f"{one_line(path)[:200]} is an address or an archive"
        fix = "copy or unpack it into a folder of the server, and add that"
        raise ServeError(415, error, fix, "type")


def open_inside(path: Path) -> int:
    """A descriptor of a regular file without links, opened without waiting.

    What the system calls the open file is compared with the path: a folder above it that became a
    link meanwhile leads nowhere.

    Raises:
        ServeError: it is gone, or not a regular file.
    """
    try:
        with open_input(path, links=False, root=path) as stream:
            return os.dup(stream.fileno())
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.EINVAL):
            fix = "ask for its span instead"
            raise ServeError(415, f"{path.name} is not a file", fix, "type") from error
        fix = "index it at its new place: vlar index add LIBRARY FOLDER"
        raise ServeError(410, f"{path}: {error.strerror}", fix, "moved") from error


HEAD_BYTES = 512
_TS_PACKET = 188
_ASF = bytes.fromhex("3026b2758e66cf11")
_MXF = bytes.fromhex("060e2b34020501010d010201")
_BRANDS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
#: Containers that browsers play, with what they call them.
PLAYABLE = {"mp4": "video/mp4", "matroska": "video/webm", "ogg": "video/ogg"}


def container_of(head: bytes) -> str | None:
    r"""Name of the video container that a file begins with; None where it is none.

    >>> container_of(b"\x00\x00\x00 ftypisom"), container_of(b"PK\x03\x04")
    ('mp4', None)

    Args:
        head: The first ``HEAD_BYTES`` bytes, or all of a shorter file.
    """
    if head[4:8] in _BRANDS:
        return "mp4"
    for name, magic in _MAGIC:
        if head.startswith(magic):
            return name
    if head.startswith(b"RIFF") and head[8:11] == b"AVI":
        return "avi"
    if _is_transport_stream(head):
        return "mpegts"
    return None


_MAGIC = (
    ("matroska", b"\x1aE\xdf\xa3"),
    ("ogg", b"OggS"),
    ("flv", b"FLV\x01"),
    ("mpegps", b"\x00\x00\x01\xba"),
    ("mpegvideo", b"\x00\x00\x01\xb3"),
    ("h264", b"\x00\x00\x00\x01"),
    ("h264", b"\x00\x00\x01"),
    ("asf", _ASF),
    ("mxf", _MXF),
    ("gif", b"GIF8"),
    ("y4m", b"YUV4MPEG2"),
    ("rm", b".RMF"),
    ("dv", b"\x1f\x07\x00"),
)


def _is_transport_stream(head: bytes) -> bool:
    for size, first in ((_TS_PACKET, 0), (_TS_PACKET + 4, 4)):  # m2ts has a time before each packet
        places = range(first, len(head), size)
        if len(places) > 1 and all(head[offset] == 0x47 for offset in places):
            return True
    return False


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


def _read_at(descriptor: int, n_bytes: int, start: int) -> bytes:
    """Bytes of a file from a position on; its descriptor belongs to one response."""
    os.lseek(descriptor, start, os.SEEK_SET)
    return os.read(descriptor, n_bytes)


def _playable(descriptor: int, path: Path) -> str:
    container = container_of(_read_at(descriptor, HEAD_BYTES, 0))
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
        piece = await to_thread.run_sync(_read_at, descriptor, min(_PIECE, end - at), at)
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

    async def __call__(self, *arguments: Any) -> None:
        try:
            await super().__call__(*arguments)
        finally:
            os.close(self._descriptor)

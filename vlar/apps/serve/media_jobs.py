"""Work of worker processes on recordings; a crash or a hang there ends one request alone."""

from __future__ import annotations

from pathlib import Path

from vlar.apps.serve.errors import DiskFullError, is_full_disk
from vlar.media.video.container import errors_of
from vlar.media.video.folder import read_picture
from vlar.media.video.frames import Box, thumbnail_jpeg
from vlar.media.video.source import probe
from vlar.types import VideoInfo

_SIDE = 64  # pixels to which a picture is shrunk when it is checked


def facts(path: Path) -> VideoInfo:
    """Size, length and rate of a recording."""
    return probe(path)


def nothing() -> None:
    """Do nothing: the process has started and holds its imports."""


def check_picture(path: Path) -> None:
    """Decode a picture, as a query by example will."""
    with errors_of(path):
        read_picture(path, _SIDE)


def picture(path: Path, at_s: float, width: int, box: Box | None = None) -> bytes:
    """The picture of one moment, or a box of it, as JPEG, at most ``width`` pixels wide."""
    return thumbnail_jpeg(path, at_s, width, box=box)


def span(path: Path, start_s: float, end_s: float, target: Path) -> int:
    """A span as an H.264 mp4 file that browsers play; the size of the file in bytes."""
    from vlar.media.video.cut import cut

    try:
        return cut(path, start_s, end_s, target).path.stat().st_size
    except Exception as error:
        if is_full_disk(error):  # its message would name a folder of the server
            raise DiskFullError("the server's disk is full; make room") from None
        raise

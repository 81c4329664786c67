"""Small pictures of moments of a video: the one place where they are made."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.errors import UsageError
from vlar.types import Clip, Failure, UInt8, Window
from vlar.video.decode import read_clip, read_windows

if TYPE_CHECKING:
    from PIL.Image import Image

WIDTH = 320
MOST_WIDTH = 3840
_QUALITY = 80  # of JPEG, 1 to 95


def thumbnail(
    path: str | Path, t_s: float, width: int = WIDTH, *, timeout_s: float = 60.0
) -> Image:
    """The picture on screen at a time, at most ``width`` pixels wide; none is enlarged.

    Args:
        path: A video file, or a folder of numbered pictures.
        t_s: Seconds after the first frame.
        width: Pixels, 1 to 3840.
        timeout_s: Limit for the whole call.

    Returns:
        An RGB picture of the video's own aspect, upright as a player shows it.

    Raises:
        DecodeError: not a readable video, or nothing of it can be read at this time.
        UsageError: a width or a time that cannot be.
    """
    _require_width(width)
    at = Window(max(t_s, 0.0), max(t_s, 0.0))
    return narrowed(read_clip(path, at, 1, timeout_s=timeout_s, shorter_side=width).data[0], width)


def thumbnails(
    path: str | Path, times_s: Sequence[float], width: int = WIDTH, *, timeout_s: float = 60.0
) -> Iterator[Image | Failure]:
    """The pictures at many times of one video, in one pass where the times rise.

    Yields:
        A picture for each time as ``thumbnail`` gives it, or a Failure where it raises a
        DecodeError.

    Raises:
        UsageError: a width or a time that cannot be.
    """
    _require_width(width)
    spans = [Window(max(t_s, 0.0), max(t_s, 0.0)) for t_s in times_s]
    for item in read_windows(path, spans, 1, timeout_s=timeout_s, shorter_side=width):
        yield narrowed(item.data[0], width) if isinstance(item, Clip) else item


def thumbnail_jpeg(
    path: str | Path, t_s: float, width: int = WIDTH, *, timeout_s: float = 60.0
) -> bytes:
    """``thumbnail`` as a JPEG file, which a worker process can send."""
    return jpeg(thumbnail(path, t_s, width, timeout_s=timeout_s))


def narrowed(pixels: UInt8, width: int) -> Image:
    """(H, W, 3) RGB as a picture of at most ``width`` pixels; narrower ones stay as they are."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    if picture.width <= width:
        return picture
    height = max(1, round(picture.height * width / picture.width))
    return picture.resize((width, height), Image.Resampling.BOX)


def jpeg(picture: Image, quality: int = _QUALITY) -> bytes:
    """A picture as a JPEG file."""
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return data.getvalue()


def _require_width(width: int) -> None:
    if not 1 <= width <= MOST_WIDTH:
        raise UsageError(f"width is {width}; give 1 to {MOST_WIDTH} pixels")

"""Small pictures of moments of a video: the one place where they are made."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.errors import UsageError
from vlar.types import UInt8, Window
from vlar.video.decode import read_clip

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


def jpeg(picture: Image) -> bytes:
    """A picture as a JPEG file."""
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()


def _require_width(width: int) -> None:
    if not 1 <= width <= MOST_WIDTH:
        raise UsageError(f"width is {width}; give 1 to {MOST_WIDTH} pixels")

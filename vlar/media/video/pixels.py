"""Decoded pictures to RGB arrays: smaller if asked, upright, all of one size."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from vlar.types import UInt8

if TYPE_CHECKING:
    from av import VideoFrame

_DISPLAY_MATRIX = struct.Struct("=9i")
Orientation = tuple[int, bool]
"""Quarter turns counter-clockwise, then whether to mirror left and right."""


def shrunk(width: int, height: int, shorter_side: int | None) -> tuple[int, int]:
    """Width and height with the shorter side at most ``shorter_side``, aspect kept to a pixel.

    >>> shrunk(1920, 1080, 270)
    (480, 270)
    """
    if shorter_side is None or min(width, height) <= shorter_side:
        return width, height
    scale = shorter_side / min(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def orientation(frame: VideoFrame) -> Orientation:
    """Turn of a decoded picture that gives the orientation of a player.

    Source: the display matrix of libavutil/display.h, rounded to the nearest quarter turn.
    """
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # side data of a kind that PyAV does not list, such as the EXIF of a photo
        return round(frame.rotation / 90) % 4, False
    raw = bytes(data) if data is not None else b""
    if len(raw) < _DISPLAY_MATRIX.size:
        return 0, False
    a, b, _, c, d, *_ = _DISPLAY_MATRIX.unpack(raw[: _DISPLAY_MATRIX.size])
    # A point (p, q), q downwards, goes to (a p + c q, b p + d q).
    mirrored = a * d - b * c < 0
    if mirrored:
        a, c = -a, -c
    if abs(a) >= abs(b):
        return (0 if a >= 0 else 2), mirrored
    return (3 if b > 0 else 1), mirrored


class Converter:
    """Turns decoded pictures into upright RGB arrays. One per decoder: it keeps swscale's set-up.

    Args:
        shorter_side: Larger pictures are shrunk to this with area averaging; none is enlarged.
    """

    def __init__(self, shorter_side: int | None) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        self._shorter_side = shorter_side
        self._reformatter = VideoReformatter()
        # Since PyAV 17 a picture is shared among threads, which cost more than they gain here.
        self._threads = {"threads": 1} if int(av.__version__.partition(".")[0]) >= 17 else {}

    def __call__(self, frame: VideoFrame) -> UInt8:
        """(H, W, 3) uint8 of one picture."""
        width, height = shrunk(frame.width, frame.height, self._shorter_side)
        same_size = (width, height) == (frame.width, frame.height)
        small = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            interpolation="BILINEAR" if same_size else "AREA",
            **self._threads,
        )
        turns, mirrored = orientation(frame)
        pixels: UInt8 = np.rot90(small.to_ndarray().astype(np.uint8, copy=False), turns)
        return np.ascontiguousarray(pixels[:, ::-1] if mirrored else pixels)


def stacked(pictures: list[UInt8]) -> UInt8:
    """(T, H, W, 3) from pictures, whose list is emptied: they are not held twice.

    Those of another size than the first are scaled to it. Sizes differ where a stream changes its
    resolution and in folders of mixed pictures.
    """
    height, width = pictures[0].shape[:2]
    frames = np.empty((len(pictures), height, width, 3), np.uint8)
    pictures.reverse()
    for frame in frames:
        frame[:] = _scaled(pictures.pop(), width, height)
    return frames


def _scaled(picture: UInt8, width: int, height: int) -> UInt8:
    if picture.shape[:2] == (height, width):
        return picture
    from PIL import Image

    image = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8)

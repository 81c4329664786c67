"""Small pictures of moments of a video: the one place where they are made."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlar import notebook
from vlar.errors import UsageError
from vlar.media.video.decode import read_clip
from vlar.types import Float32, UInt8, Window

if TYPE_CHECKING:
    from PIL.Image import Image


def blank_clips(n_frames: int, height: int, width: int) -> UInt8:
    """Clips that show nothing: plain colours, noise of several grains, gradients.

    Args:
        n_frames: T frames each.
        height: Pixels.
        width: Pixels.

    Returns:
        (M, T, H, W, 3) uint8, M = 12; the noise changes from frame to frame.
    """
    random = np.random.default_rng(0)
    shape = (n_frames, height, width)
    clips: list[npt.NDArray[np.floating]] = [
        np.broadcast_to(np.array(colour, np.float64), (*shape, 3))
        for colour in ((0, 0, 0), (255, 255, 255), (128, 128, 128), (190, 40, 40), (40, 60, 180))
    ]
    clips.append(random.uniform(0, 256, (*shape, 3)))
    clips.append(random.normal(128, 40, (*shape, 3)))
    clips.append(random.normal(24, 8, (*shape, 3)))
    clips.append(np.repeat(random.uniform(0, 256, (*shape, 1)), 3, axis=-1))
    clips.append(np.repeat(255.0 * random.integers(0, 2, (*shape, 1)), 3, axis=-1))
    coarse = random.uniform(0, 256, (n_frames, -(-height // 8), -(-width // 8), 3))
    clips.append(coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width])
    ramp = np.linspace(0, 255, width)[None, None, :, None]
    clips.append(np.broadcast_to(ramp, (*shape, 3)))
    return np.stack([clip.clip(0, 255).astype(np.uint8) for clip in clips])


STILL = 6.0
"""Grey levels (of 255): a clip below moves less than noise does (evals/results/still.json)."""
_ROWS = 24  # regions from top to bottom; as many columns as make them square
_STRONGEST = 3  # regions whose mean deviation is the movement of a picture


def movement(frames: UInt8) -> float:
    """The strongest deviation, in grey levels (0 to 255), of any picture from the clip's middle.

    Args:
        frames: (T, H, W, 3) uint8 RGB.

    Returns:
        0 for equal pictures; infinite for fewer than three, which show no movement either way.
    """
    if len(frames) < 3:
        return float("inf")
    regions = _regions(frames)
    deviation = np.abs(regions - np.median(regions, axis=0)).reshape(len(frames), -1)
    strongest = np.sort(deviation, axis=1)[:, -_STRONGEST:]
    return float(strongest.mean(axis=1).max())


def is_still(frames: UInt8) -> bool:
    """Return whether nothing moves in (T, H, W, 3) uint8 frames."""
    return movement(frames) < STILL


def _regions(frames: UInt8) -> Float32:
    """(T, rows, columns) mean grey of square regions."""
    height, width = frames.shape[1:3]
    side = max(1, height // _ROWS)
    rows, columns = max(height // side, 1), max(width // side, 1)
    whole_blocks = frames[:, : rows * side, : columns * side]
    grey = whole_blocks.mean(axis=3, dtype=np.float32)
    return grey.reshape(len(frames), rows, side, columns, side).mean(axis=(2, 4))


Box = tuple[float, float, float, float]
"""Left, top, right and bottom, 0 to 1 of a frame."""
WIDTH = 320
_LEGIBLE = 720  # pixels of the shorter side of a frame of which a box is shown
_MARGIN = 0.3  # of the lesser side of a box, around it
MOST_WIDTH = 3840
_QUALITY = 80  # of JPEG, 1 to 95


def thumbnail(
    path: str | Path,
    t_s: float,
    width: int = WIDTH,
    *,
    timeout_s: float = 60.0,
    box: Box | None = None,
) -> Image:
    """The picture on screen at a time, at most ``width`` pixels wide; none is enlarged.

    Args:
        path: A video file, or a folder of numbered pictures.
        t_s: Seconds after the first frame.
        width: Pixels, 1 to 3840.
        timeout_s: Limit for the whole call.
        box: Part that is shown, with a margin, from a frame of up to 720 lines; None for all.

    Returns:
        An RGB picture of the video's own aspect, upright as a player shows it.

    Raises:
        DecodeError: not a readable video, or nothing of it can be read at this time.
        UsageError: a width or a time that cannot be.
    """
    _require_width(width)
    moment = Window(max(t_s, 0.0), max(t_s, 0.0))
    side = width if box is None else max(width, _LEGIBLE)
    (frame,) = read_clip(path, moment, 1, timeout_s=timeout_s, shorter_side=side).data
    return narrowed(frame if box is None else _inside(frame, box), width)


def _inside(frame: UInt8, box: Box) -> UInt8:
    """The part (h, w, 3) of a frame (H, W, 3) that a box and its margin hold, a pixel at least."""
    size = np.array(frame.shape[1::-1])
    low, high = np.array(box[:2]) * size, np.array(box[2:]) * size
    margin = _MARGIN * float((high - low).min())
    left, top = np.clip(low - margin, 0, size - 1).astype(int).tolist()
    right, bottom = np.clip(np.ceil(high + margin), (left + 1, top + 1), size).astype(int).tolist()
    return frame[top:bottom, left:right]


def thumbnail_jpeg(
    path: str | Path,
    t_s: float,
    width: int = WIDTH,
    *,
    timeout_s: float = 60.0,
    box: Box | None = None,
) -> bytes:
    """``thumbnail`` as a JPEG file, which a worker process can send."""
    return jpeg(thumbnail(path, t_s, width, timeout_s=timeout_s, box=box))


def _for_notebooks(path: str | Path, t_s: float, width: int) -> bytes:
    return thumbnail_jpeg(path, t_s, width, timeout_s=5.0)


notebook.Pictures.of = _for_notebooks


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

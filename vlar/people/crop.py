"""Zoom: a cut of one size that follows a track, so that a small person fills the frame.

After AZTR (Wang et al., "AZTR: Aerial Video Action Recognition with Auto Zoom and Temporal
Reasoning", 2023). One size for the whole clip: a window that breathes looks like motion. Its middle
follows the median of the track over a second.
"""

from __future__ import annotations

import numpy as np

from vlar.errors import UsageError
from vlar.types import Float32, Float64, UInt8

MARGIN = 1.5  # side of the window over the 75th percentile of the box's longer side
MOST_KEY_FRAMES = 16  # an encoder of more frames follows movements, and needs even times
_MEDIAN_S = 1.0
_LEAST_SIDE = 8.0  # pixels


def window(
    boxes: Float32, size: tuple[int, int], *, margin: float = MARGIN
) -> tuple[Float64, Float64, float]:
    """The windows of a track.

    Args:
        boxes: (n, 5) by time: time_s, x1, y1, x2, y2 in pixels.
        size: (H, W) of the frames, pixels.
        margin: Side of the window over the size of the box.

    Returns:
        Middles (n,) in x and in y, and the side, in pixels. The side is one for all boxes. Every
        window lies inside the frame.

    Raises:
        UsageError: a track without a box, or the boxes are not (n, 5) numbers.
    """
    rows = np.asarray(boxes, np.float64)
    if rows.ndim != 2 or rows.shape[1] != 5 or not len(rows) or not np.isfinite(rows).all():
        raise UsageError(
            f"boxes of shape {rows.shape}; give at least one row time_s, x1, y1, x2, y2 of numbers"
        )
    height, width = size
    longer = np.maximum(rows[:, 3] - rows[:, 1], rows[:, 4] - rows[:, 2])
    side = max(margin * float(np.percentile(longer, 75)), _LEAST_SIDE)
    side = min(side, float(height), float(width))
    x = _median_filtered((rows[:, 1] + rows[:, 3]) / 2, rows[:, 0])
    y = _median_filtered((rows[:, 2] + rows[:, 4]) / 2, rows[:, 0])
    half = side / 2
    return x.clip(half, width - half), y.clip(half, height - half), side


def cut(frames: UInt8, boxes: Float32, *, margin: float = MARGIN) -> UInt8:
    """The frames cut to the windows of a track.

    Args:
        frames: (T, H, W, 3) uint8.
        boxes: (T, 5), a row a frame.
        margin: As for ``window``.

    Returns:
        (T, side, side, 3) uint8 of the same pixels, without resizing.

    Raises:
        UsageError: there is not one box a frame.
    """
    if len(boxes) != len(frames):
        raise UsageError(
            f"{len(boxes)} boxes for {len(frames)} frames; give one row a frame (Track.at)"
        )
    height, width = frames.shape[1:3]
    x, y, side = window(boxes, (height, width), margin=margin)
    pixels = max(1, min(round(side), height, width))
    x_low = np.rint(x - pixels / 2).astype(int).clip(0, width - pixels)
    top = np.rint(y - pixels / 2).astype(int).clip(0, height - pixels)
    return np.stack(
        [
            frame[row : row + pixels, column : column + pixels]
            for frame, row, column in zip(frames, top, x_low, strict=True)
        ]
    )


def key_frames(boxes: Float32, joints: Float32 | None, n: int) -> np.ndarray:
    """Choose n of T frames with most of the motion: evenly spread over its running sum.

    Where nothing moves they are evenly spread in time. The first and the last frame of the motion
    are always among them.

    Args:
        boxes: (T, 5), a row a frame.
        joints: (T, J, 3) in pixels, whose motion counts too; None for boxes alone.
        n: 1 to T.

    Returns:
        (n,) int64 rising.
    """
    if len(boxes) < 2:
        return np.zeros(len(boxes), np.int64)
    moved = np.abs(np.diff(boxes[:, 1:], axis=0)).mean(axis=1)
    if joints is not None:
        moved = moved + np.linalg.norm(np.diff(joints[..., :2], axis=0), axis=-1).mean(axis=1)
    even = max(float(moved.mean()), 1e-6) * 0.5  # so that no part of the clip is left out
    passed = np.concatenate([[0.0], np.cumsum(moved + even)])
    targets = np.linspace(0.0, passed[-1], n)
    nearest = np.abs(passed[None] - targets[:, None]).argmin(axis=1)
    return _distinct(nearest, len(boxes))


def _distinct(places: np.ndarray, n_frames: int) -> np.ndarray:
    """Rising places without repetition, each as near to the given one as fits."""
    n = len(places)
    if n >= n_frames:
        return np.arange(n_frames, dtype=np.int64)
    rising = np.maximum.accumulate(places - np.arange(n)) + np.arange(n)
    last = n_frames - n + np.arange(n)
    return np.minimum(rising, last).astype(np.int64)


def _median_filtered(values: Float64, times_s: Float64) -> Float64:
    """Each value replaced by the median of those within half a second."""
    near = np.abs(times_s[:, None] - times_s[None]) <= _MEDIAN_S / 2
    return np.array([float(np.median(values[row])) for row in near])

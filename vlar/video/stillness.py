"""Whether anything moves in a clip: how far its pictures leave their own middle, region by region.

The pictures are averaged over a grid of regions, which removes the noise of sensors and codecs. Of
each region, the deviation from its median over time is taken, so that slow movements count as much
as fast ones. A change of light counts as movement too: still footage is only what looks the same.
"""

from __future__ import annotations

import numpy as np

from vlar.types import Float32, UInt8

STILL = 6.0
"""Grey levels (of 255): a clip below moves less than noise does; evals/still.py chose it."""
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
    """Whether nothing moves in (T, H, W, 3) uint8 frames."""
    return movement(frames) < STILL


def _regions(frames: UInt8) -> Float32:
    """(T, rows, columns) mean grey of square regions."""
    height, width = frames.shape[1:3]
    side = max(1, height // _ROWS)
    rows, columns = max(height // side, 1), max(width // side, 1)
    kept = frames[:, : rows * side, : columns * side]
    grey = kept.mean(axis=3, dtype=np.float32)
    return grey.reshape(len(frames), rows, side, columns, side).mean(axis=(2, 4))

"""Who moves: the one to zoom in on, of bodies and of what moves without a known body.

A picture on a wall, a player on a screen, a bystander: bodies too, and often larger than the person
who does something. A detector of movement (``motion``, after the camera's own motion) tells them
apart. Chosen on composites of small people before still ones (``evals/zoom.py --half choose``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlar.detecting.base import Boxes
from vlar.detecting.tracks import Track, link
from vlar.types import Float32, Float64

_OFTEN = 0.5  # share of a body's frames in which something moves on it
_WHOLE = 0.8  # size of what moves over that of the body, from which the whole body moves
_STIRS = 0.1  # body sizes that a limb of a moving body strays from its usual place
_LASTS = 0.3  # share of the frames in which something moves without a body
_AROUND = 0.1  # of a box's sides: movement so near to it is on it
_TRUNK, _LIMBS = [11, 12, 23, 24], [13, 14, 15, 16, 25, 26, 27, 28]  # joints of BLAZEPOSE_33


def who_moves(bodies: Sequence[Track], movement: Boxes, n_frames: int) -> Track | None:
    """The largest and longest of those who move: whole bodies first, then limbs, then anything.

    Args:
        bodies: Tracks of people; none is allowed.
        movement: Boxes of what moves against the background, in the same frames.
        n_frames: Of the clip.

    Returns:
        A body whose movement is as large as itself; without one a body whose limbs move; without
        one what moves without a known body; without one the largest body; None of nothing.
    """
    sizes = [_moving_size(body, movement) for body in bodies]
    moved = [(body, size) for body, size in zip(bodies, sizes, strict=True) if size is not None]
    lasting = [each for each in link(movement) if len(each.boxes) >= _LASTS * n_frames]
    for found in (
        [body for body, size in moved if size >= _WHOLE],
        [body for body, _ in moved if _stirs(body)],
        lasting,
        bodies,
    ):
        if found:
            return max(found, key=lambda track: track.presence)
    return None


def _moving_size(body: Track, movement: Boxes) -> float | None:
    """Size of what moves on a body over its own; None where mostly nothing does."""
    sizes = [
        size
        for row in body.boxes
        if (size := _size_on(row[1:], movement.rows[movement.rows[:, 0] == row[0], 1:]))
    ]
    if len(sizes) < _OFTEN * len(body.boxes):
        return None
    return float(np.median(sizes))


def _size_on(box: Float32, movement: Float32) -> float:
    """Longer side of the boxes (n, 4) whose middles are on a box (4,), over its own; 0 of none."""
    around = _AROUND * (box[2:] - box[:2])
    middles = (movement[:, :2] + movement[:, 2:]) / 2
    on = ((middles > box[:2] - around) & (middles < box[2:] + around)).all(axis=1)
    if not on.any():
        return 0.0
    reach = movement[on, 2:].max(axis=0) - movement[on, :2].min(axis=0)
    return float(reach.max() / max(float((box[2:] - box[:2]).max()), 1.0))


def _stirs(body: Track) -> bool:
    """Whether limbs move against the trunk; a body without joints is believed to."""
    if body.joints is None:
        return True
    joints: Float64 = body.joints[..., :2].astype(np.float64)
    limbs = (joints[:, _LIMBS] - joints[:, _TRUNK].mean(axis=1, keepdims=True)) / body.extent
    padded = np.concatenate([limbs[:1], limbs, limbs[-1:]])
    smooth = np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
    strays = np.linalg.norm(smooth.std(axis=0), axis=-1)
    return float(np.sort(strays)[-2:].mean()) >= _STIRS

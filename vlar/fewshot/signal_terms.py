"""Terms of signatures that measured values over time fill: joints, accelerations, sound levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
_MOMENTS = 16  # of the term ``course``


def level(x: Floats) -> Floats:
    """(N, T, W) to the mean over time (N, W)."""
    return unit_rows(x.mean(axis=1))


def course(x: Floats) -> Floats:
    """(N, T, W) to 16 moments less their mean, one after the other (N, 16 W)."""
    moments = resampled(_MOMENTS, x)
    return unit_rows((moments - moments.mean(axis=1, keepdims=True)).reshape(len(x), -1))


def spread(x: Floats) -> Floats:
    """(N, T, W) to the standard deviation over time (N, W)."""
    return unit_rows(x.std(axis=1))


def speed(x: Floats) -> Floats:
    """(N, T, W) to the mean absolute step from moment to moment (N, W)."""
    return unit_rows(steps(x))


def resampled(count: int, x: Floats) -> Floats:
    """(N, T, W) to (N, ``count``, W) by linear interpolation between the middles of frames."""
    length = x.shape[1]
    place = ((np.arange(count) + 0.5) * length / count - 0.5).clip(0, length - 1)
    before = np.floor(place).astype(np.intp)
    after, share = np.minimum(before + 1, length - 1), (place - before)[None, :, None]
    return x[:, before] * (1 - share) + x[:, after] * share


def steps(x: Floats) -> Floats:
    """(N, T, W) to the mean absolute step from frame to frame (N, W); 0 for one frame."""
    if x.shape[1] < 2:
        return np.zeros_like(x[:, 0])
    return np.abs(np.diff(x, axis=1)).mean(axis=1)


def unit_rows(x: Floats, floor: float = 1e-6) -> Floats:
    """Rows of length 1; rows shorter than ``floor`` stay proportionally short."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), floor)

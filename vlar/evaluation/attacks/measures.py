"""Measures of an attack: answers that change, and what it does to a body."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import UsageError
from vlar.media.skeleton.layouts import Layout, tree

Points = npt.NDArray[np.floating[Any]]


def fooling_rate(before: npt.ArrayLike, after: npt.ArrayLike) -> float:
    """Share of N answers that differ; from wrong to wrong counts too."""
    return float(np.mean(np.asarray(before) != np.asarray(after)))


def right_to_wrong(before: npt.ArrayLike, after: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Share of the answers that were right and are wrong now; 0 where none was right."""
    right = np.asarray(before) == np.asarray(truth)
    return float((np.asarray(after) != truth)[right].mean()) if right.any() else 0.0


def bone_drift(before: Points, after: Points, layout: str | Layout) -> float:
    """Change of the lengths of all bones over all lengths; unseen joints (NaN) are left out.

    Args:
        before: (T, M, V, C), or any leading axes.
        after: Likewise.
        layout: Of the V joints.

    Raises:
        UsageError: another number of joints, or two shapes.
    """
    here, up = np.array(tree(layout)).T
    if before.shape != after.shape or before.ndim < 2 or before.shape[-2] != len(here) + 1:
        raise UsageError(
            f"joints of shape {before.shape} and {after.shape}; give two of (T, M, V, C) with "
            f"{len(here) + 1} joints"
        )
    old, new = (
        np.linalg.norm(p[..., here, :] - p[..., up, :], axis=-1).astype(np.float64)
        for p in (before, after)
    )
    return float(np.nansum(np.abs(new - old)) / max(np.nansum(old + 0 * new), 1e-12))


def acceleration(before: Points, after: Points) -> float:
    """Mean length of the change (T, ..., C) of accelerations, in units of the points a frame²."""
    moved = np.diff(np.asarray(after, np.float64) - before, n=2, axis=0)
    length = np.linalg.norm(moved, axis=-1)
    return float(np.nanmean(length)) if np.isfinite(length).any() else 0.0

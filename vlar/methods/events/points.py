"""Points as spikes: values and their complements, rate codes, and groups of near events.

Letters: L points, M groups of K points, T steps.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vlar.types import Float32

RADIUS = 0.2  # from the centre of a group, that counts as 1


def complement(values: Tensor) -> Tensor:
    """Values and what they lack, both positive, so that rates of spikes can carry a sign.

    SpikePoint, arXiv 2310.07189.

    Args:
        values: (...) from -1 to 1.

    Returns:
        (..., 2): ``(v + 1) / 2`` and 1 minus it.
    """
    share = (torch.as_tensor(values) + 1) / 2
    return torch.stack([share, 1 - share], dim=-1)


def rate(values: Tensor, steps: int, *, seed: int | None) -> Tensor:
    """Rate code of values: at each step a spike with this probability.

    Args:
        values: (...) from 0 to 1.
        steps: T, at least 1.
        seed: Seed of the draws; None gives the expected rates, the values, at every step.

    Returns:
        (T, ...).
    """
    values = torch.as_tensor(values)
    wide = values.expand(steps, *values.shape)
    if seed is None:
        return wide
    draw = torch.Generator(device=values.device).manual_seed(seed)
    chance = torch.rand(wide.shape, generator=draw, dtype=values.dtype, device=values.device)
    return (chance < wide).to(values.dtype)


def grouped(points: Float32, groups: int, neighbours: int) -> Float32:
    """Groups of near points around evenly spaced points of the order of time.

    Farthest points would level how dense events are, and take the noise first. A group is seen from
    its centre at one scale, so that a dense group is a small one. The order of the points makes no
    difference.

    Args:
        points: (L, 4) x, y, time and polarity, each from -1 to 1.
        groups: M, at most L.
        neighbours: K, at most L.

    Returns:
        (M, 4 K + 3) from -1 to 1: K points, nearest first, then the centre.
    """
    from scipy.spatial import KDTree

    points = points[np.lexsort(points.T[[3, 0, 1, 2]])]
    centres = points[np.arange(groups) * len(points) // groups, :3]
    near = KDTree(points[:, :3]).query(centres, neighbours)[1].reshape(groups, neighbours)
    local = np.clip((points[near, :3] - centres[:, None]) / RADIUS, -1, 1)
    groups_out = np.concatenate([local, points[near, 3:]], axis=2).reshape(groups, -1)
    return np.concatenate([groups_out, centres], axis=1).astype(np.float32)

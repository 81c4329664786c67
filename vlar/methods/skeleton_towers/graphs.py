"""Graphs of the joints of a layout, and of hyper-edges.

A matrix (V, V) is applied from the right: ``x A`` with ``x`` (..., V), so column u holds what joint
u takes of each joint.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from vlar.media.skeleton import layouts
from vlar.media.skeleton.layouts import Layout, levels
from vlar.types import Float32


def normed(graphs: Float32) -> Float32:
    """Graphs (..., V, V) whose columns sum to 1, or to 0 where a joint has none."""
    total = graphs.sum(axis=-2, keepdims=True)
    return (graphs / np.where(total > 0, total, 1)).astype(np.float32)


def hierarchy(layout: str | Layout, centre: str | None = None) -> Float32:
    """Fully connected neighbouring levels of a body, seen from a joint (HD-GCN, Lee et al. 2023).

    Args:
        layout: A layout or its name.
        centre: The joint of level 0; None is the root.

    Returns:
        (L, 3, V, V) of 0 and 1, L the number of pairs of neighbouring levels. ``[l, 0]`` holds the
        joints of both levels themselves, ``[l, 1]`` each edge from level l to level l + 1, and
        ``[l, 2]`` its transpose. No edge comes twice.

    Raises:
        UsageError: the layout has no such joint.
    """
    return level_edges(levels(layout, centre))


def level_edges(level: npt.NDArray[np.int64]) -> Float32:
    """``hierarchy`` of the level (V,) of each joint; joints of level -1 have no edge."""
    edges = np.zeros((int(level.max()), 3, len(level), len(level)), np.float32)
    for index, of in enumerate(edges):
        near, far = level == index, level == index + 1
        of[0] = np.diag(near | far)
        of[1] = np.outer(near, far)
        of[2] = of[1].T
    return edges


def hyper(incidence: Tensor, weight: Tensor, *, twice: bool = False) -> Tensor:
    """Graph of hyper-edges: ``D_v^-1 H W D_e^-1 H^T`` (Hyper-GCN, Zhou et al. 2025).

    ``D_e`` holds the joints of each edge, ``D_v`` the weights of the edges of each joint, without
    their signs. Rows sum to 1 where the weights are positive, and ``-W`` gives the negative graph.

    Args:
        incidence: (..., V, E) H, at least 0: how much joint v belongs to edge e.
        weight: (..., E) W.
        twice: ``W^2`` in place of ``W``, as in the released network; ``D_v`` stays.

    Returns:
        (..., V, V); rows without an edge are 0.
    """
    joints = (incidence * weight.abs()[..., None, :]).sum(dim=-1, keepdim=True)
    shares = (weight.square() if twice else weight) / incidence.sum(dim=-2).clamp(min=1e-9)
    inner = incidence * shares[..., None, :]
    return (inner @ incidence.transpose(-2, -1)) / joints.clamp(min=1e-9)


def dilated(layout: str | Layout, hops: int) -> Float32:
    """Graphs of the joints at each distance, by bones of the tree (STC-Net, Lee et al. 2023).

    Args:
        layout: A layout or its name.
        hops: Largest distance, at least 1.

    Returns:
        (hops, V, V): entry d - 1 is above 0 where two joints are d bones apart. Columns sum to 1,
        or to 0 where a joint has no other at this distance.
    """
    distance = np.stack([levels(layout, joint) for joint in layouts.layout(layout).joints])
    hop_edges = [(distance == hop).astype(np.float32) for hop in range(1, hops + 1)]
    return normed(np.stack(hop_edges))

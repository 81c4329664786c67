"""Graphs of the joints of a layout, and of hyper-edges.

A matrix (V, V) is applied from the right: ``x A`` with ``x`` (..., V), so column u holds what joint
u takes of each joint.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vlar.media.skeleton import layouts
from vlar.media.skeleton.layouts import Layout, levels, partition
from vlar.methods.skeleton_towers.network import Given
from vlar.types import Float32


def partition_of(given: Given) -> Tensor:
    """(3, V, V) itself, towards the root and away from it, among the joints that are read."""
    rows = list(given.joints)
    return torch.from_numpy(normed(partition(given.config.layout)[:, rows][:, :, rows]))


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
    level = levels(layout, centre)
    edges = np.zeros((int(level.max()), 3, len(level), len(level)), np.float32)
    for index, of in enumerate(edges):
        near, far = level == index, level == index + 1
        of[0] = np.diag(near | far)
        of[1] = np.outer(near, far)
        of[2] = of[1].T
    return edges


def hyper(incidence: Tensor, weight: Tensor) -> Tensor:
    """Graph of hyper-edges: ``D_v^-1 H W D_e^-1 H^T``.

    ``D_e`` holds the joints of each edge, ``D_v`` the weights of the edges of each joint, without
    their signs. Rows sum to 1 where the weights are positive, and ``-W`` gives the negative graph.

    Args:
        incidence: (N, V, E) H, at least 0: how much joint v belongs to edge e.
        weight: (N, E) W.

    Returns:
        (N, V, V); rows without an edge are 0.
    """
    joints = (incidence * weight.abs()[:, None]).sum(dim=2, keepdim=True)
    edges = incidence.sum(dim=1)
    inner = incidence * (weight / edges.clamp(min=1e-9))[:, None]
    return (inner @ incidence.transpose(1, 2)) / joints.clamp(min=1e-9)


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

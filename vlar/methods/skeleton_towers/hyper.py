"""Hyper-GCN: edges of many joints that lie near in feature space, and joints that are learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.methods.skeleton_towers.graphs import hyper, partition_of
from vlar.methods.skeleton_towers.network import (
    Answers,
    Aux,
    Given,
    Reading,
    Space,
    TowerNetwork,
    hidden,
    mean_over,
)

_HEADS, _LEAST, _REDUCTION = 8, 4, 32


class HyperEdges(Space):
    """Eight graphs: the tree with learned importance, and a hyper-edge around each joint.

    The hyper-edge of a joint holds its nearest joints by features, a few learned (virtual) ones
    included. Its weight is learned and may be negative. Virtual joints end with the block.
    """

    tree: Tensor

    def __init__(self, inputs: int, outputs: int, given: Given) -> None:
        super().__init__(inputs, outputs, given)
        config, v = given.config, len(given.joints)
        self.virtual = nn.Parameter(0.5 * torch.randn(config.virtual, inputs))
        whole = v + config.virtual
        self.near = min(config.neighbours, whole)
        tree = F.pad(partition_of(given).sum(dim=0), (0, config.virtual, 0, config.virtual))
        self.register_buffer("tree", tree, persistent=False)
        self.importance = nn.Parameter(torch.ones(_HEADS, whole, whole))
        self.alpha = nn.Parameter(torch.full((_HEADS, 1, 1), 0.1))
        self.small = max(_LEAST, inputs // _REDUCTION)
        self.place = nn.Conv1d(inputs, _HEADS * self.small, 1)
        self.weigh = nn.Conv1d(_HEADS * self.small, _HEADS, 1, groups=_HEADS)
        self.value = nn.Conv2d(inputs, outputs, 1, groups=_HEADS)

    def graphs(self, mean: Tensor) -> Tensor:
        """Mean features (R, C, V) to hyper-graphs (R, 8, V', V'), V' with the virtual joints."""
        mean = torch.cat([mean, self.virtual.T.expand(len(mean), -1, -1)], dim=2)
        places = self.place(mean)
        weight = torch.tanh(self.weigh(places)).flatten(0, 1)  # of the edge around each joint
        rows = places.view(len(mean) * _HEADS, self.small, -1).transpose(1, 2)
        distance = torch.cdist(rows, rows)
        near, at = distance.topk(self.near, dim=2, largest=False)
        edges = torch.zeros_like(distance).scatter(2, at, torch.softmax(-near, dim=2))
        return hyper(edges.transpose(1, 2), weight).view(len(mean), _HEADS, *edges.shape[1:])

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(R, C, T, V) to (R, C', T, V)."""
        v = x.shape[-1]
        extra = self.virtual.T[None, :, None].expand(len(x), -1, x.shape[2], -1)
        values = self.value(torch.cat([x, extra], dim=-1))
        if seen is not None:
            values = hidden(values, F.pad(seen, (0, extra.shape[-1]), value=1.0))
        tree = self.tree * self.importance
        tree = tree / tree.abs().sum(dim=1, keepdim=True).clamp(min=1e-6)
        mixed = self.alpha.relu() * self.graphs(mean_over(x, seen, (-2,))).transpose(2, 3) + tree
        values = values.view(len(x), _HEADS, -1, *values.shape[2:])
        return (values @ mixed[:, :, None, :, :v]).flatten(1, 2)

    def likeness(self) -> Tensor:
        """Mean positive cosine between different virtual joints; 0 for fewer than two."""
        count = len(self.virtual)
        if count < 2:
            return self.virtual.sum() * 0
        rows = F.normalize(self.virtual, dim=1)
        apart = ~torch.eye(count, dtype=torch.bool)
        return (rows @ rows.T)[apart].relu().mean()


class Diversity(Aux):
    """Mean likeness of the virtual joints of each block."""

    def forward(self, network: TowerNetwork, reading: Reading, answers: Answers) -> Tensor:
        """The mean over blocks; 0 without virtual joints."""
        found = [part.likeness() for part in network.modules() if isinstance(part, HyperEdges)]
        return torch.stack(found).mean() if found else reading.points.sum() * 0

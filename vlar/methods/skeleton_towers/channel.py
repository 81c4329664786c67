"""The plain base of the graph towers: a topology for each channel, and frames at several scales.

CTR-GC (Chen et al., ICCV 2021): ``y = sum_k x W_k (A_k + alpha Q_k)``, where ``Q_k`` comes from
``tanh`` of the differences of joints, for each channel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.media.skeleton.layouts import partition
from vlar.methods.skeleton_towers.graphs import normed
from vlar.methods.skeleton_towers.network import Given, Space, Time, hidden, mean_over

_REDUCTION, _LEAST = 8, 8
_SUBSETS = 3
_KERNEL, _DILATIONS = 5, (1, 2)


class TowerTopology(Space):
    """Three learned graphs, each refined for every channel by differences between joints."""

    def __init__(self, inputs: int, outputs: int, given: Given) -> None:
        super().__init__(inputs, outputs, given)
        small = max(_LEAST, inputs // _REDUCTION)
        rows = list(given.joints)
        graphs = partition(given.config.layout)[:, rows][:, :, rows]
        self.graph = nn.Parameter(torch.from_numpy(normed(graphs)))
        self.alpha = nn.Parameter(torch.zeros(1))
        self.value = nn.Conv2d(inputs, _SUBSETS * outputs, 1)
        self.ends = nn.Conv1d(inputs, 2 * _SUBSETS * small, 1)
        self.expand = nn.Conv2d(_SUBSETS * small, _SUBSETS * outputs, 1, groups=_SUBSETS)

    def topology(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(R, 3, C', V, V): how much of each joint (rows) every joint (columns) takes."""
        one, two = self.ends(mean_over(x, seen, (-2,))).chunk(2, dim=1)
        refined = self.expand(torch.tanh(one[..., :, None] - two[..., None, :]))
        refined = refined.view(len(x), _SUBSETS, self.outputs, *refined.shape[2:])
        return self.alpha * refined + self.graph[:, None]

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(R, C, T, V) to (R, C', T, V)."""
        values = hidden(self.value(x), seen).view(len(x), _SUBSETS, -1, *x.shape[2:])
        return (values @ self.topology(x, seen)).sum(dim=1)


class Scales(Time):
    """Convolutions over frames, near and dilated, a maximum over three, and the frame itself.

    Each has the same share of the channels.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, given: Given) -> None:
        super().__init__(inputs, outputs, stride, given)
        count = len(_DILATIONS) + 1
        self.share = max(1, outputs // (count + 1))
        whole = count * self.share
        self.enter = nn.Sequential(nn.Conv2d(inputs, whole, 1), nn.BatchNorm2d(whole), nn.ReLU())
        half, sizes = _KERNEL // 2, (_KERNEL, 1)
        self.kernels = nn.ModuleList(
            nn.Conv2d(self.share, self.share, sizes, (stride, 1), (half * wide, 0), (wide, 1))
            for wide in _DILATIONS
        )
        self.plain = nn.Conv2d(inputs, outputs - whole, 1, stride=(stride, 1))
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(R, C, T, V) to (R, C', T', V)."""
        *parts, most = hidden(self.enter(x), seen).split(self.share, dim=1)
        rows = [kernel(part) for kernel, part in zip(self.kernels, parts, strict=True)]
        most = F.max_pool2d(most, (3, 1), (self.stride, 1), (1, 0))
        return self.norm(torch.cat([*rows, most, self.plain(x)], dim=1))

"""HD-GCN (Lee et al., ICCV 2023, arXiv 2208.10741), by the names of its released files."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vlar.methods.skeleton_towers.graphs import level_edges, normed
from vlar.methods.skeleton_towers.released.blocks import (
    GraphBlock,
    ScaleBranches,
    by_person,
    norm_channels,
)
from vlar.toml import read_toml

#: Levels of joints (numbered from 1) seen from the chest, the spine and the pelvis.
LEVELS: dict[int, list[list[int]]] = {
    int(joint): levels
    for joint, levels in read_toml(
        Path(__file__).with_name("levels.toml").read_text(encoding="utf-8")
    ).items()
}


def hierarchy(levels: list[list[int]], joints: int = 25) -> Tensor:
    """Graphs (L, 3, V, V) of neighbouring levels, rows take: own joints, outwards, inwards."""
    level = np.full(joints, -1)
    for number, row in enumerate(levels):
        level[np.subtract(row, 1)] = number
    return torch.from_numpy(normed(level_edges(level).swapaxes(-2, -1)))


def centre_of(graphs: Tensor) -> int:
    """The centre whose edges are strongest in learned graphs (L, 3, V, V); no file states it."""
    strength = graphs.abs()

    def contrast(centre: int) -> float:
        edges = hierarchy(LEVELS[centre], graphs.shape[-1]) > 0
        return float(strength[edges].mean() - strength[~edges].mean())

    return max(LEVELS, key=contrast)


class EdgeConv(nn.Module):
    """Convolution over pairs with the nearest by features; the greatest of them is taken.

    Args:
        inputs: Channels.
        outputs: Channels.
        nearest: How many, the joint itself among them.
    """

    def __init__(self, inputs: int, outputs: int, nearest: int) -> None:
        super().__init__()
        self.nearest = nearest
        self.conv = nn.Sequential(
            nn.Conv2d(2 * inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(0.2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Values (R, C, V) of (R, C_in, V)."""
        squares = x.square().sum(1, keepdim=True)
        likeness = 2 * x.transpose(1, 2) @ x - squares - squares.transpose(1, 2)
        index = likeness.topk(min(self.nearest, x.shape[-1]), dim=-1)[1]  # (R, V, k)
        rows, channels, joints = x.shape
        flat = index.reshape(rows, 1, -1).expand(rows, channels, -1)
        near = x.gather(2, flat).view(rows, channels, joints, -1)
        centre = x[..., None].expand_as(near)
        return self.conv(torch.cat([near - centre, centre], 1)).max(-1)[0]


class LevelAttention(nn.Module):
    """Weights of the levels for each channel (``aha``)."""

    def __init__(self, channels: int, pooled: list[list[int]]) -> None:
        super().__init__()
        self.pooled = pooled
        width = channels // 4
        self.conv_down = nn.Sequential(
            nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.edge_conv = EdgeConv(width, width, 3)
        self.aggregate = nn.Conv1d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Values (R, C, T, V) of (R, C, L, T, V)."""
        strongest = self.conv_down(x.max(-2)[0])  # (R, C / 4, L, V)
        means = [strongest[:, :, i, joints].mean(-1) for i, joints in enumerate(self.pooled)]
        weights = torch.sigmoid(self.aggregate(self.edge_conv(torch.stack(means, -1))))
        return (x * weights[..., None, None]).sum(2)


class LevelGraphs(nn.Module):
    """Graph convolutions on pairs of levels and a branch by features (``gcn1``)."""

    def __init__(
        self, inputs: int, outputs: int, levels: list[list[int]], joints: int, attention: bool
    ) -> None:
        super().__init__()
        pairs = list(pairwise(levels))
        self.pooled = [[joint - 1 for joint in near + far] for near, far in pairs]
        width = outputs // 4
        self.PA = nn.Parameter(hierarchy(levels, joints))
        self.conv_down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, width, 1), nn.BatchNorm2d(width), nn.ReLU())
            for _ in pairs
        )
        self.conv = nn.ModuleList()
        for _ in pairs:
            branches: list[nn.Module] = [
                nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width)) for _ in range(3)
            ]
            self.conv.append(nn.ModuleList([*branches, EdgeConv(width, width, 5)]))
        self.conv_d = self.conv[-1]  # a second name in the released files
        self.aha = LevelAttention(outputs, self.pooled) if attention else None
        self.bn = nn.BatchNorm2d(outputs)
        self.down = None
        if inputs != outputs:
            self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Values (R, C, T, V) of (R, C_in, T, V)."""
        frames = x.shape[2]
        levels: list[Tensor] = []
        for graphs, reduce, convs in zip(self.PA, self.conv_down, self.conv, strict=True):
            d = reduce(x)
            assert isinstance(convs, nn.ModuleList)
            parts = [
                conv(torch.einsum("vu,nctu->nctv", graph, d))
                for graph, conv in zip(graphs, convs[:3], strict=True)
            ]
            edge = convs[3](d.mean(-2))[..., None, :].expand(-1, -1, frames, -1)
            levels.append(torch.cat([*parts, edge], 1))
        y = torch.stack(levels, 2)
        y = y.sum(2) if self.aha is None else self.aha(y)
        return functional.relu(self.bn(y) + (x if self.down is None else self.down(x)))


class HdGcn(nn.Module):
    """The network: (N, M, T, V, C) -> (N, classes).

    Args:
        config: ``centre`` (21, 2 or 1) or ``levels`` (their joints, from 1), ``joints``,
            ``people``, ``num_classes``, ``in_channels``, ``layers`` (``inputs``, ``outputs``,
            ``stride``).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        joints, levels = config["joints"], config.get("levels") or LEVELS[config["centre"]]
        self.data_bn = nn.BatchNorm1d(config["people"] * joints * config["in_channels"])
        self.count = len(config["layers"])
        for number, layer in enumerate(config["layers"]):
            inputs, outputs, stride = layer["inputs"], layer["outputs"], layer["stride"]
            space = LevelGraphs(inputs, outputs, levels, joints, attention=number > 0)
            time = ScaleBranches(outputs, stride, apart=True)
            block = GraphBlock(space, time, inputs, outputs, stride, first=number == 0)
            setattr(self, f"l{number + 1}", block)
        self.fc = nn.Linear(config["layers"][-1]["outputs"], config["num_classes"])

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of clips (N, M, T, V, C)."""
        clips, people = x.shape[:2]
        x = by_person(self.data_bn(norm_channels(x)), x.shape)
        for number in range(self.count):
            x = getattr(self, f"l{number + 1}")(x)
        return self.fc(x.mean((2, 3)).view(clips, people, -1).mean(1))

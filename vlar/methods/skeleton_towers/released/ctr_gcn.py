"""CTR-GCN (Chen et al., ICCV 2021, arXiv 2107.12213), PSUMNet and CHASE, by names of their files.

PSUMNet (Trivedi and Sarvadevabhatla, ECCV 2022 workshops, arXiv 2208.05775) is the same network on
parts of the body; CHASE (Wen et al., NeurIPS 2024, arXiv 2410.07153) moves the scene before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlar.methods.skeleton_towers.hull import origins
from vlar.methods.skeleton_towers.released.blocks import (
    GraphBlock,
    ScaleBranches,
    by_person,
    norm_channels,
)


class ChannelTopology(nn.Module):
    """Graph convolution whose graph differs by channel (CTR-GC, equation 3)."""

    def __init__(self, inputs: int, outputs: int, reduced: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, reduced, 1)
        self.conv2 = nn.Conv2d(inputs, reduced, 1)
        self.conv3 = nn.Conv2d(inputs, outputs, 1)
        self.conv4 = nn.Conv2d(reduced, outputs, 1)

    def forward(self, x: Tensor, graph: Tensor, alpha: Tensor) -> Tensor:
        """Values (R, C, T, V) of (R, C_in, T, V); ``graph`` is (V, V), rows take."""
        taker, giver = self.conv1(x).mean(-2), self.conv2(x).mean(-2)
        difference = torch.tanh(taker[..., :, None] - giver[..., None, :])
        graphs = alpha * self.conv4(difference) + graph
        return torch.einsum("ncuv,nctv->nctu", graphs, self.conv3(x))


class ChannelGraphs(nn.Module):
    """Three channel topologies, added (``gcn1``)."""

    def __init__(self, inputs: int, outputs: int, joints: int, reduced: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(ChannelTopology(inputs, outputs, reduced) for _ in range(3))
        self.PA = nn.Parameter(torch.eye(joints).repeat(3, 1, 1))
        self.alpha = nn.Parameter(torch.zeros(1))
        self.bn = nn.BatchNorm2d(outputs)
        self.down = None
        if inputs != outputs:
            self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Values (R, C, T, V) of (R, C_in, T, V)."""
        parts = [conv(x, self.PA[i], self.alpha) for i, conv in enumerate(self.convs)]
        skip = x if self.down is None else self.down(x)
        return functional.relu(self.bn(torch.stack(parts).sum(0)) + skip)


class CtrGcn(nn.Module):
    """The network: (N, M, T, V, C) -> (N, classes).

    Args:
        config: ``joints``, ``people``, ``num_classes``, ``in_channels``, ``layers`` (``inputs``,
            ``outputs``, ``stride``).
        eight: Numbers of input channels whose graphs are made from eight; others from an eighth.
        below: Fewer input channels than this also have eight.
        listed: The blocks are named ``layers.0`` on, otherwise ``l1`` on.
    """

    def __init__(
        self,
        config: dict[str, Any],
        eight: Sequence[int] = (3, 9),
        below: int = 0,
        listed: bool = False,
    ) -> None:
        super().__init__()
        joints, people, channels = config["joints"], config["people"], config["in_channels"]
        self.data_bn = nn.BatchNorm1d(people * joints * channels)
        blocks: list[nn.Module] = []
        for number, layer in enumerate(config["layers"]):
            inputs, outputs, stride = layer["inputs"], layer["outputs"], layer["stride"]
            reduced = 8 if inputs in eight or inputs < below else inputs // 8
            space = ChannelGraphs(inputs, outputs, joints, reduced)
            time = ScaleBranches(outputs, stride)
            blocks.append(GraphBlock(space, time, inputs, outputs, stride, first=number == 0))
        if listed:
            self.layers = nn.ModuleList(blocks)
        else:
            for number, block in enumerate(blocks, 1):
                setattr(self, f"l{number}", block)
        self.count = len(blocks)
        self.fc = nn.Linear(config["layers"][-1]["outputs"], config["num_classes"])

    def blocks(self) -> list[nn.Module]:
        """The blocks in order."""
        listed = hasattr(self, "layers")
        return [self.layers[i] if listed else getattr(self, f"l{i + 1}") for i in range(self.count)]

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of clips (N, M, T, V, C)."""
        clips, people = x.shape[:2]
        x = by_person(self.data_bn(norm_channels(x)), x.shape)
        for block in self.blocks():
            x = block(x)
        return self.fc(x.mean((2, 3)).view(clips, people, -1).mean(1))


class Chase(nn.Module):
    """CHASE around CTR-GCN: a point in the convex hull of all points is subtracted from all.

    Args:
        config: That of ``CtrGcn``, ``frames``, ``c1``, ``c2`` and ``pooling_seg`` (runs of frames,
            joints, people that are moved each by its own point).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        points = config["frames"] * config["joints"] * config["people"]
        first, second = config["c1"], config["c2"]
        self.shift = nn.Sequential(
            nn.Conv3d(config["in_channels"], first, 1),
            nn.AdaptiveAvgPool3d(tuple(config["pooling_seg"])),
            nn.Conv3d(first, second, 1, bias=False),
            nn.ReLU(),
            nn.Conv3d(second, points, 1, bias=False),
        )
        self.backbone = CtrGcn(config, eight=(), below=64)

    def origin(self, x: Tensor) -> Tensor:
        """Subtracted points (N, C, A, B, D), one a segment, of clips (N, M, T, V, C)."""
        points = x.permute(0, 4, 2, 3, 1)  # (N, C, T, V, M)
        scores = self.shift(points)
        moved_by = origins(points.flatten(2).transpose(1, 2), scores.flatten(2))
        return moved_by.transpose(1, 2).unflatten(2, scores.shape[2:])

    def moved(self, x: Tensor) -> Tensor:
        """The clips (N, M, T, V, C) around that point."""
        size = (x.shape[2], x.shape[3], x.shape[1])
        origin = functional.interpolate(self.origin(x), size=size, mode="nearest")
        return x - origin.permute(0, 4, 2, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of clips (N, M, T, V, C)."""
        return self.backbone(self.moved(x))


def box_distance(moved: Tensor, first: int, second: int) -> Tensor:
    """The further loss of CHASE: how far the boxes of two people are apart (MMD, a scalar).

    Args:
        moved: Clips (N, M, T, V, C) after the shift.
        first: The one person.
        second: The other.
    """
    corners = [
        torch.cat([moved[:, person].amax((1, 2)), moved[:, person].amin((1, 2))])
        for person in (first, second)
    ]
    points = torch.cat(corners)
    squared = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").square()
    count = len(points)
    width = squared.detach().sum() / (count * count - count) / 4
    kernel = torch.stack([torch.exp(-squared / (width * 2**z)) for z in range(5)]).sum(0)
    half = count // 2
    same = kernel[:half, :half].mean() + kernel[half:, half:].mean()
    return same - 2 * kernel[:half, half:].mean()

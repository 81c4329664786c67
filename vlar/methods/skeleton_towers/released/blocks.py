"""Parts that several of the released networks share: norms of people, branches of time, blocks."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Padding = Literal["zeros", "replicate"]


def norm_channels(x: Tensor) -> Tensor:
    """Clips (N, M, T, V, C) as (N, M * V * C, T): a channel for each person, joint and axis."""
    clips, people, frames, joints, channels = x.shape
    return x.permute(0, 1, 3, 4, 2).reshape(clips, people * joints * channels, frames)


def by_person(x: Tensor, shape: torch.Size) -> Tensor:
    """The result (N, M * V * C, T) of that norm as rows (N * M, C, T, V)."""
    clips, people, frames, joints, _ = shape
    rows = x.view(clips * people, joints, -1, frames)
    return rows.permute(0, 2, 3, 1).contiguous()


class DilatedConv(nn.Module):
    """Convolution over five frames and its norm.

    Args:
        channels: In and out.
        stride: In time.
        dilation: In time.
        padding_mode: What stands before the first frame and after the last.
        apart: The bias is a parameter of its own, (1, C, 1, 1).
    """

    def __init__(
        self, channels: int, stride: int, dilation: int, padding_mode: Padding, apart: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels,
            channels,
            (5, 1),
            (stride, 1),
            (2 * dilation, 0),
            (dilation, 1),
            bias=not apart,
            padding_mode=padding_mode,
        )
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1)) if apart else None
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Values (R, C, T', V) of (R, C, T, V)."""
        x = self.conv(x)
        return self.bn(x if self.bias is None else x + self.bias)


class ScaleBranches(nn.Module):
    """Four branches over time: two dilations, the greatest of three frames, and none (``tcn1``)."""

    def __init__(
        self, channels: int, stride: int, padding_mode: Padding = "zeros", apart: bool = False
    ) -> None:
        super().__init__()
        width = channels // 4

        def enter() -> list[nn.Module]:
            return [nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU()]

        self.branches = nn.ModuleList(
            nn.Sequential(*enter(), DilatedConv(width, stride, dilation, padding_mode, apart))
            for dilation in (1, 2)
        )
        pool = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        self.branches.append(nn.Sequential(*enter(), pool, nn.BatchNorm2d(width)))
        plain = nn.Conv2d(channels, width, 1, (stride, 1))
        self.branches.append(nn.Sequential(plain, nn.BatchNorm2d(width)))

    def forward(self, x: Tensor) -> Tensor:
        """Values (R, C, T', V) of (R, C, T, V), T' the frames over the stride, rounded up."""
        return torch.cat([branch(x) for branch in self.branches], 1)


class ConvNorm(nn.Module):
    """A 1 x 1 convolution and its norm, as residual paths have it."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, (stride, 1))
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Values (R, C, T', V) of (R, C_in, T, V)."""
        return self.bn(self.conv(x))


class GraphBlock(nn.Module):
    """Space, time and a residual: relu(time(space(x)) + residual(x)).

    Args:
        space: ``gcn1``.
        time: ``tcn1``.
        inputs: Channels.
        outputs: Channels.
        stride: In time.
        first: Without a residual.
    """

    def __init__(
        self,
        space: nn.Module,
        time: nn.Module,
        inputs: int,
        outputs: int,
        stride: int,
        first: bool = False,
    ) -> None:
        super().__init__()
        self.gcn1, self.tcn1 = space, time
        self.is_first = first
        same = first or (inputs == outputs and stride == 1)
        self.residual = None if same else ConvNorm(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Values (R, C, T', V) of (R, C_in, T, V)."""
        y = self.tcn1(self.gcn1(x))
        if not self.is_first:
            y = y + (x if self.residual is None else self.residual(x))
        return functional.relu(y)

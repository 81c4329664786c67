"""I3D (Carreira and Zisserman, CVPR 2017) in the two layouts that its weights were released in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Widths of each block: 1x1 | reduce, 3x3 | reduce, 3x3 | projection of the pool.
MIXED = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}
_POOLS = {"3b": ((1, 3, 3), (1, 2, 2)), "4b": ((3, 3, 3), (2, 2, 2)), "5b": ((2, 2, 2), (2, 2, 2))}
Sizes = tuple[int, int, int]


def _padded(x: Tensor, kernel: Sizes, stride: Sizes, by_length: tuple[bool, bool, bool]) -> Tensor:
    """Zeros around the last three axes, so that ``length / stride`` places come out, rounded up."""
    pad: list[int] = []
    for length, k, s, exact in zip(x.shape[2:], kernel, stride, by_length, strict=True):
        remainder = length % s if exact else 0
        lacking = max(k - (remainder or s), 0)
        pad = [lacking // 2, lacking - lacking // 2, *pad]
    return functional.pad(x, pad)


class ConvUnit(nn.Module):
    """Convolution with "same" padding, a norm and a ReLU.

    Args:
        inputs: Channels.
        outputs: Channels.
        kernel: Kernel of all three axes.
        stride: Stride of all three axes.
        old: The layout of hassony2: the norm is ``batch3d``, and only time is padded by its length.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, old: bool
    ) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel, kernel, kernel), (stride, stride, stride)
        self.by_length = (True, not old, not old)
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.norm = "batch3d" if old else "bn"
        setattr(self, self.norm, nn.BatchNorm3d(outputs, eps=1e-3))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, T', H', W')."""
        x = _padded(x, self.kernel, self.stride, self.by_length)
        return functional.relu(getattr(self, self.norm)(self.conv3d(x)))


class Pool(nn.Module):
    """Greatest values with "same" padding of zeros."""

    def __init__(self, kernel: Sizes, stride: Sizes, *, old: bool) -> None:
        super().__init__()
        self.kernel, self.stride, self.old = kernel, stride, old

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, T', H', W')."""
        x = _padded(x, self.kernel, self.stride, (True, not self.old, not self.old))
        return functional.max_pool3d(x, self.kernel, self.stride, ceil_mode=self.old)


class Mixed(nn.Module):
    """Four branches, side by side."""

    def __init__(self, inputs: int, widths: tuple[int, ...], *, old: bool) -> None:
        super().__init__()
        one, two, three, four, five, six = widths
        units = (
            ConvUnit(inputs, one, old=old),
            ConvUnit(inputs, two, old=old),
            ConvUnit(two, three, 3, old=old),
            ConvUnit(inputs, four, old=old),
            ConvUnit(four, five, 3, old=old),
            ConvUnit(inputs, six, old=old),
        )
        pool = Pool((3, 3, 3), (1, 1, 1), old=old)
        self.old = old
        if old:
            self.branch_0 = units[0]
            self.branch_1 = nn.Sequential(units[1], units[2])
            self.branch_2 = nn.Sequential(units[3], units[4])
            self.branch_3 = nn.Sequential(pool, units[5])
        else:
            self.b0, self.b1a, self.b1b, self.b2a, self.b2b, self.b3b = units
            self.b3a = pool

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, T, H, W) of maps."""
        if self.old:
            parts = [self.branch_0(x), self.branch_1(x), self.branch_2(x), self.branch_3(x)]
        else:
            pooled = self.b3b(self.b3a(x))
            parts = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), pooled]
        return torch.cat(parts, 1)


class _Logits(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(1024, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3d(x)


class I3d(nn.Module):
    """The network: (B, C, T, 224, 224) -> (B, classes), the mean of the rows in time.

    Args:
        config: ``classes``, ``in_channels`` (3 colour, 2 flow), ``layout`` (``piergiaj`` or
            ``hassony2``).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        old = config["layout"] == "hassony2"
        self.name = str.lower if old else str
        stem = {
            "Conv3d_1a_7x7": ConvUnit(config["in_channels"], 64, 7, 2, old=old),
            "MaxPool3d_2a_3x3": Pool((1, 3, 3), (1, 2, 2), old=old),
            "Conv3d_2b_1x1": ConvUnit(64, 64, old=old),
            "Conv3d_2c_3x3": ConvUnit(64, 192, 3, old=old),
        }
        self.order: list[str] = []
        for name, module in stem.items():
            self._append(name, module)
        channels = 192
        for name, widths in MIXED.items():
            if name in _POOLS:
                kernel, stride = _POOLS[name]
                self._append(f"MaxPool3d_{name}", Pool(kernel, stride, old=old))
            self._append(f"Mixed_{name}", Mixed(channels, widths, old=old))
            channels = widths[0] + widths[2] + widths[4] + widths[5]
        self.answer = "conv3d_0c_1x1" if old else "logits"
        setattr(self, self.answer, _Logits(config["classes"]))

    def _append(self, name: str, module: nn.Module) -> None:
        self.order.append(self.name(name))
        setattr(self, self.name(name), module)

    def per_time(self, video: Tensor) -> Tensor:
        """Logits (B, classes, T') of each step of eight frames."""
        x = video
        for name in self.order:
            x = getattr(self, name)(x)
        x = functional.avg_pool3d(x, (2, 7, 7), 1)
        return getattr(self, self.answer)(x)[..., 0, 0]

    def forward(self, video: Tensor) -> Tensor:
        """Logits (B, classes) of clips (B, C, T, 224, 224)."""
        return self.per_time(video).mean(2)

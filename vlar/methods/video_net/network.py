"""Small networks of clips, trained from random weights: frame by frame, and over time.

Letters: N clips, C channels, T frames, H W pixels, W features of a clip, D width of the shared
space, K numbers of a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from vlar.adapters.settings import Settings, setting
from vlar.adapters.tower_network import ResidualNetwork, small_step, zero_linear
from vlar.encoders.inflated import inflated
from vlar.encoders.torchvision import midplanes

NETWORKS = ("frames", "r2plus1d", "i3d")
_STAGES = 3  # each halves the picture and doubles the channels, the first apart
#: Makes a convolution of n_in channels to n_out by its size and stride.
Conv = Callable[[int, int, int, int], nn.Module]


@dataclass(frozen=True)
class VideoNetConfig(Settings):
    """Size and kind of the network.

    Attributes:
        network: ``frames``: every frame alone, and their mean. ``r2plus1d``: each convolution over
            space is followed by one over time. ``i3d``: filters over space and time.
        width: Channels of the first stage; later stages have twice and four times as many.
        depth: Residual blocks of a stage.
        size: Pixels of a side; the whole frame is resized to a square.
        frames: T of a clip; None takes the encoder's.
        labels: Labels it is trained for.
    """

    network: str = setting("r2plus1d", choices=NETWORKS)
    width: int = setting(16, at_least=4, at_most=256)
    depth: int = setting(1, at_least=1, at_most=8)
    size: int = setting(64, at_least=16, at_most=512)
    frames: int | None = setting(None, at_least=1, at_most=1024)
    labels: tuple[str, ...] = ()

    what: ClassVar[str] = "video-net setting"

    @property
    def features(self) -> int:
        """W."""
        return self.width * 2 ** (_STAGES - 1)


@dataclass
class Spent:
    """Multiply-adds of each of N clips that were needed, and those of a full run.

    Attributes:
        needed: (N,) tensors with gradients, one a layer that can be spared in part.
        full: Of one clip, of the same layers.
    """

    needed: list[Tensor] = field(default_factory=list[Tensor])
    full: list[float] = field(default_factory=list[float])

    def share(self) -> Tensor:
        """(N,) needed of full."""
        return torch.stack(self.needed).sum(dim=0) / sum(self.full)


def flat(n_in: int, n_out: int, size: int, stride: int) -> nn.Module:
    """A convolution over space."""
    edge = (0, size // 2, size // 2)
    return nn.Conv3d(n_in, n_out, (1, size, size), (1, stride, stride), edge, bias=False)


def picture(n_in: int, n_out: int, size: int, stride: int) -> nn.Module:
    """A convolution of a network of pictures, to be inflated."""
    return nn.Conv2d(n_in, n_out, size, stride, size // 2, bias=False)


def factorised(n_in: int, n_out: int, size: int, stride: int) -> nn.Module:
    """R(2+1)D: over space, a non-linearity, over time; the parameters of a full filter.

    A step in space is a step in time (Tran et al. 2018); the first layer takes none.
    """
    between = midplanes(n_in, n_out, 3, size)
    step = stride if size == 3 else 1
    return nn.Sequential(
        flat(n_in, between, size, stride),
        nn.BatchNorm3d(between),
        nn.ReLU(),
        nn.Conv3d(between, n_out, (3, 1, 1), (step, 1, 1), (1, 0, 0), bias=False),
    )


class Block(nn.Module):
    """A residual block (He et al. 2016)."""

    def __init__(self, n_in: int, n_out: int, stride: int, conv: Conv, norm: type[nn.Module]):
        super().__init__()
        self.first, self.first_norm = conv(n_in, n_out, 3, stride), norm(n_out)
        self.second, self.second_norm = conv(n_out, n_out, 3, 1), norm(n_out)
        self.relu = nn.ReLU()
        same = n_in == n_out and stride == 1
        self.shortcut = nn.Identity() if same else _shortcut(n_in, n_out, stride, conv, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, T, H, W) to (N, n_out, ...)."""
        inner = self.relu(self.first_norm(self.first(x)))
        return self.relu(self.second_norm(self.second(inner)) + self.shortcut(x))


def _shortcut(n_in: int, n_out: int, stride: int, conv: Conv, norm: type[nn.Module]) -> nn.Module:
    if conv is factorised:  # which steps in time too
        layer: nn.Module = nn.Conv3d(n_in, n_out, 1, stride, bias=False)
    else:
        layer = conv(n_in, n_out, 1, stride)
    return nn.Sequential(layer, norm(n_out))


class Body(nn.Module):
    """A residual network up to the mean over space and time."""

    def __init__(self, config: VideoNetConfig, channels: int, conv: Conv, two: bool = False):
        super().__init__()
        norm = nn.BatchNorm2d if two else nn.BatchNorm3d
        width = config.width
        self.stem = nn.Sequential(conv(channels, width, 5, 2), norm(width), nn.ReLU())
        found: list[nn.Module] = []
        for stage in range(_STAGES):
            for number in range(config.depth):
                n_out = config.width * 2**stage
                stride = 2 if stage and not number else 1
                found.append(Block(width, n_out, stride, conv, norm))
                width = n_out
        self.stages = nn.Sequential(*found)
        self.pool = nn.AdaptiveAvgPool2d(1) if two else nn.AdaptiveAvgPool3d(1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, W)."""
        return self.pool(self.stages(self.stem(x))).flatten(1)


def body_of(config: VideoNetConfig, channels: int = 3) -> nn.Module:
    """The network of some settings, at random weights."""
    if config.network == "i3d":
        return inflated(Body(config, channels, picture, two=True))
    return Body(config, channels, factorised if config.network == "r2plus1d" else flat)


class VideoNetwork(ResidualNetwork):
    """Pixels of clips to what is added to their vectors, zero at the start."""

    def __init__(self, config: VideoNetConfig, dim: int) -> None:
        super().__init__()
        self.size = config.size
        self.body = body_of(config)
        self.leave = zero_linear(config.features, dim)
        self.register_labels(len(config.labels), dim)

    def features(self, inputs: Tensor) -> Tensor:
        """(N, T, K) pixels to (N, W)."""
        pixels = inputs.unflatten(2, (3, self.size, self.size)).transpose(1, 2)
        return self.body(pixels)

    def answer(self, features: Tensor) -> Tensor:
        """(N, W) to (N, D)."""
        return small_step(self.leave(features), self.leave.in_features)

    def residual(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to (N, D)."""
        return self.answer(self.features(inputs))

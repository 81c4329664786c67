"""Ensemble of 1-D convolutions: four subnets read a sequence in four ways, and are fused late.

Xu et al., "Ensemble one-dimensional convolution neural networks for skeleton-based action
recognition", IEEE Signal Processing Letters 2018.

Letters: N clips, M people, C channels of the streams, T frames, V joints, R people who are there, K
channels of a sequence, W width of what is found.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vlar.methods.skeleton_towers.limbs import limbs
from vlar.methods.skeleton_towers.network import Body, Found, Given, mean_of_people


class Residual1d(nn.Module):
    """Sequences (R, K, L) to features (R, W, L') by residual convolutions over three places.

    Args:
        inputs: K.
        widths: Channels of each residual block; the last is W.
        halved: Blocks, counted from 1, that halve the length.
    """

    def __init__(self, inputs: int, widths: Sequence[int], halved: Sequence[int]) -> None:
        super().__init__()
        self.enter = nn.Conv1d(inputs, widths[0], 3, padding=1)
        pairs = enumerate(itertools.pairwise([widths[0], *widths]), start=1)
        self.blocks = nn.ModuleList(_block(*pair, 1 + (n in halved)) for n, pair in pairs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for skip, block in self.blocks:  # pyright: ignore[reportGeneralTypeIssues]
            x = skip(x) + block(x)
        return x


class Member(Body):
    """The base of the subnets: sequences of each person alone, then the mean over people."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        self.width = given.widths[-1]

    def net(self, inputs: int, share: int = 1) -> Residual1d:
        """Residual convolutions whose widths are divided by ``share``."""
        widths = [max(width // share, 1) for width in self.given.widths]
        return Residual1d(inputs, widths, self.given.halved)

    @abstractmethod
    def features(self, x: Tensor, seen: Tensor) -> Tensor:
        """(R, C, T, V), 0 where ``seen`` (R, T, V) is 0, to (R, W)."""

    def forward(self, x: Tensor, seen: Tensor) -> Found:
        """Streams (N, M, C, T, V) and ``seen`` (N, M, T, V) to the mean over people."""
        there = seen.amax(dim=(2, 3)) > 0
        owners = there.nonzero()[:, 0]
        if not len(owners):
            return Found(x.new_zeros(len(x), self.width))
        return Found(mean_of_people(self.features(x[there], seen[there]), owners, len(x)))


class TwoStreams(Member):
    """Frames as a sequence of poses, and joints as a sequence of paths; each has half of W."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        sizes = len(given.joints), given.config.frames
        self.nets = nn.ModuleList(self.net(given.channels * size, 2) for size in sizes)

    def features(self, x: Tensor, seen: Tensor) -> Tensor:
        both = zip(self.nets, (x, x.mT), strict=True)
        return torch.cat([net(_sequence(y)).mean(dim=2) for net, y in both], dim=1)


class Limbs(Member):
    """The limbs and the trunk alone, each with convolutions of its own."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        self.limbs = [list(limb) for limb in limbs(given.config.layout).values() if limb]
        count = len(self.limbs)
        sizes = [given.channels * len(limb) for limb in self.limbs]
        self.nets = nn.ModuleList(self.net(size, count) for size in sizes)
        self.join = nn.Linear(max(self.width // count, 1) * count, self.width)

    def features(self, x: Tensor, seen: Tensor) -> Tensor:
        each = zip(self.nets, self.limbs, strict=True)
        found = [net(_sequence(x[..., limb])).mean(dim=2) for net, limb in each]
        return self.join(torch.cat(found, dim=1))


class Gated(Member):
    """Weights, 0 to 1, on the channels of the features, and then on their frames."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        width, small = self.width, max(self.width // 4, 1)
        self.whole = self.net(given.channels * len(given.joints))
        self.channels = nn.Sequential(
            nn.Linear(width, small), nn.ReLU(), nn.Linear(small, width), nn.Sigmoid()
        )
        self.frames = nn.Sequential(nn.Conv1d(width, 1, 3, padding=1), nn.Sigmoid())

    def features(self, x: Tensor, seen: Tensor) -> Tensor:
        y = self.whole(_sequence(x))
        y = y * self.channels(y.mean(dim=2))[..., None]
        return (y * self.frames(y)).mean(dim=2)


class Differences(Member):
    """The steps from frame to frame, of joints that are seen in both."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        self.whole = self.net(given.channels * len(given.joints))

    def features(self, x: Tensor, seen: Tensor) -> Tensor:
        both = (seen[:, 1:] * seen[:, :-1])[:, None]
        return self.whole(_sequence((x[:, :, 1:] - x[:, :, :-1]) * both)).mean(dim=2)


def _sequence(x: Tensor) -> Tensor:
    """(R, C, T, V) to (R, C V, T)."""
    return x.transpose(2, 3).flatten(1, 2)


def _block(inputs: int, outputs: int, stride: int) -> nn.ModuleList:
    same = inputs == outputs and stride == 1
    skip = nn.Identity() if same else nn.Conv1d(inputs, outputs, 1, stride)
    first = nn.Conv1d(inputs, outputs, 3, stride, padding=1)
    second = nn.Conv1d(outputs, outputs, 3, padding=1)
    norms = nn.BatchNorm1d(inputs), nn.BatchNorm1d(outputs)
    layers = nn.Sequential(norms[0], nn.ReLU(), first, norms[1], nn.ReLU(), second)
    return nn.ModuleList([skip, layers])

"""Ensemble of 1-D convolutions: four subnets read a sequence in four ways, and are fused late.

Xu et al., "Ensemble one-dimensional convolution neural networks for skeleton-based action
recognition", IEEE Signal Processing Letters 2018.

Letters: N clips, M people, C channels of the streams, T frames, V joints, R people who are there, L
places of a sequence of K channels, W width of what is found.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.media.skeleton.layouts import root
from vlar.methods.skeleton_towers.limbs import limbs
from vlar.methods.skeleton_towers.network import BodyAnswer, Given, TowerBody, mean_of_people


class Subnet(TowerBody):
    """Residual convolutions over sequences (R, K, L), their means joined, the mean over people.

    The name of the body chooses the sequences: ``two-streams`` has the poses of the frames and the
    paths of the joints; ``limbs`` each limb and the trunk alone; ``gated`` the poses, with weights,
    0 to 1, on the channels and then the frames of what is found; ``differences`` the steps from
    frame to frame of joints that are seen in both. With ``paired`` a sequence holds the joints of
    the next person too, both from the root of the first frame, so pairs are related. With
    ``toward`` each sequence is turned about the vertical so that the next person is at the right.
    """

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        self.kind, self.width = given.body, given.widths[-1]
        every = limbs(given.config.layout).values() if self.kind == "limbs" else [given.joints]
        people = 1 + given.config.paired
        self.groups = [
            [person * len(given.joints) + joint for person in range(people) for joint in group]
            for group in every
            if group
        ]
        sizes = [len(group) for group in self.groups]
        sizes += [given.config.frames] if self.kind == "two-streams" else []
        widths = [max(width // len(sizes), 1) for width in given.widths]
        self.nets = nn.ModuleList(self._net(given.channels * size, widths) for size in sizes)
        self.join = nn.Linear(len(sizes) * widths[-1], self.width)
        if self.kind == "gated":
            self.channels = nn.Sequential(nn.Linear(self.width, self.width), nn.Sigmoid())
            self.frames = nn.Sequential(nn.Conv1d(self.width, 1, 3, padding=1), nn.Sigmoid())

    def _net(self, inputs: int, widths: list[int]) -> nn.Sequential:
        pairs = enumerate(itertools.pairwise([widths[0], *widths]), start=1)
        blocks = [Residual(*pair, 1 + (n in self.given.halved)) for n, pair in pairs]
        return nn.Sequential(nn.Conv1d(inputs, widths[0], 3, padding=1), *blocks)

    def sequences(self, x: Tensor, seen: Tensor) -> Iterator[Tensor]:
        """Sequences (R, K, L) of (R, C, T, V), 0 where ``seen`` (R, T, V) is 0."""
        if self.kind == "differences":
            x = (x[:, :, 1:] - x[:, :, :-1]) * (seen[:, 1:] * seen[:, :-1])[:, None]
        for group in self.groups:
            yield x[..., group].transpose(2, 3).flatten(1, 2)
        if self.kind == "two-streams":
            yield x.flatten(1, 2)

    def forward(self, x: Tensor, seen: Tensor) -> BodyAnswer:
        """Streams (N, M, C, T, V) and ``seen`` (N, M, T, V) to the mean over people."""
        present = seen.amax(dim=(2, 3)) > 0
        start = root(self.given.config.layout)
        toward = "toward" in self.given.config.normalise
        way = _to_the_next(x[..., start], seen[..., start]) if toward else None
        if self.given.config.paired:
            x, seen = (torch.cat([rows, rows.roll(1, dims=1)], dim=-1) for rows in (x, seen))
            x = (x - x[:, :, :, :1, start, None]) * seen[:, :, None]
        if way is not None:
            x = _turned(x, way)
        owners = present.nonzero()[:, 0]
        if not len(owners):
            return BodyAnswer(x.new_zeros(len(x), self.width))
        sequences = self.sequences(x[present], seen[present])
        streams = [net(rows) for net, rows in zip(self.nets, sequences, strict=True)]
        if self.kind == "gated":
            streams = [y * self.channels(y.mean(dim=2))[..., None] for y in streams]
            streams = [y * self.frames(y) for y in streams]
        joined = self.join(torch.cat([y.mean(dim=2) for y in streams], dim=1))
        return BodyAnswer(mean_of_people(joined, owners, len(x)))


def _to_the_next(roots: Tensor, seen: Tensor) -> Tensor:
    """(N, M, 3) mean way from roots (N, M, C, T) to those of the next person; 0 where unseen."""
    both = (seen * seen.roll(1, dims=1))[:, :, None]
    return ((roots.roll(1, dims=1) - roots)[:, :, :3] * both).mean(dim=3)


def _turned(x: Tensor, way: Tensor) -> Tensor:
    """Streams (N, M, C, T, V) about the vertical, so that ways (N, M, 3) lead to the right."""
    flat = way[..., [0, 2]]
    nobody = flat.norm(dim=2, keepdim=True) < 1e-6
    flat = F.normalize(torch.where(nobody, flat.new_tensor([1.0, 0.0]), flat), dim=2)
    cos, sin = flat[..., None, None, None].unbind(dim=2)
    across, up, deep = x.unflatten(2, (-1, 3)).unbind(dim=3)
    turned = across * cos + deep * sin, up, deep * cos - across * sin
    return torch.stack(turned, dim=3).flatten(2, 3)


class Residual(nn.Module):
    """Two convolutions over three places behind norms, with a residual connection."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else nn.Conv1d(inputs, outputs, 1, stride)
        first = nn.Conv1d(inputs, outputs, 3, stride, padding=1)
        second = nn.Conv1d(outputs, outputs, 3, padding=1)
        norms = nn.BatchNorm1d(inputs), nn.BatchNorm1d(outputs)
        self.layers = nn.Sequential(norms[0], nn.ReLU(), first, norms[1], nn.ReLU(), second)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.layers(x)

"""ProtoGCN: many graphs a block, and memories that push alike actions apart (Liu et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.errors import ModelError
from vlar.methods.skeleton_towers.config import TowerConfig
from vlar.methods.skeleton_towers.network import (
    Answers,
    Aux,
    Body,
    Given,
    Reading,
    Space,
    TowerNetwork,
    hidden,
    mean_of_people,
    mean_over,
)

_GRAPHS, _OFFSET, _SPREAD = 8, 0.04, 0.02
_PROTOTYPES, _WIDTH = 400, 256
_TEMPERATURE, _MOMENTUM = 0.125, 0.9


class RandomTopologies(Space):
    """Eight graphs that start at random, each with the differences and likenesses of joints.

    ``A_k + alpha tanh(m_u - n_v) + beta softmax_u(q_u . k_v)``: differences for each channel.
    """

    def __init__(self, inputs: int, outputs: int, given: Given) -> None:
        super().__init__(inputs, outputs, given)
        v, self.inner = len(given.joints), max(1, outputs // _GRAPHS)
        whole = _GRAPHS * self.inner
        self.graph = nn.Parameter(_OFFSET + _SPREAD * torch.randn(_GRAPHS, v, v))
        self.alpha = nn.Parameter(torch.zeros(1))
        self.beta = nn.Parameter(torch.zeros(1))
        self.value = nn.Sequential(nn.Conv2d(inputs, whole, 1), nn.BatchNorm2d(whole), nn.ReLU())
        self.ends = nn.Conv1d(inputs, 4 * whole, 1)
        self.leave = nn.Conv2d(whole, outputs, 1)

    def topology(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(R, 8, C' / 8, V, V): how much of each joint (rows) every joint (columns) takes."""
        ends = self.ends(mean_over(x, seen, (-2,)))
        of = ends.view(len(x), 4, _GRAPHS, self.inner, -1).unbind(dim=1)
        apart = torch.tanh(of[0][..., :, None] - of[1][..., None, :])
        alike = torch.softmax(of[2].transpose(2, 3) @ of[3] / self.inner**0.5, dim=2)
        return self.graph[:, None] + self.alpha * apart + self.beta * alike[:, :, None]

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(R, C, T, V) to (R, C', T, V)."""
        values = hidden(self.value(x), seen)
        values = values.view(len(x), _GRAPHS, self.inner, *x.shape[2:])
        return self.leave((values @ self.topology(x, seen)).flatten(1, 2))


def remember(
    memory: Tensor, vectors: Tensor, y: Tensor, right: Tensor, *, momentum: float = _MOMENTUM
) -> Tensor:
    """Class memories after a batch: each moves to the mean of the right answers of its class.

    Args:
        memory: (C, d); it is not changed.
        vectors: (n, d).
        y: (n,) integer classes.
        right: (n,) bool, whether each was answered right; others are left out.
        momentum: Share that is kept, 0 to 1.

    Returns:
        (C, d); classes without a right answer are as before.
    """
    member = F.one_hot(y, len(memory)).to(memory.dtype) * right.to(memory.dtype)[:, None]
    count = member.sum(dim=0)[:, None]
    mean = (member.T @ vectors.to(memory.dtype)) / count.clamp(min=1)
    return torch.where(count > 0, momentum * memory + (1 - momentum) * mean, memory)


class PrototypeHead(Aux):
    """The last topology, rebuilt from prototypes, against the memory of each class.

    Right answers of a training move the memories afterwards.
    """

    memory: Tensor

    def __init__(self, config: TowerConfig, bodies: Sequence[Body]) -> None:
        super().__init__(config, bodies)
        channels = _GRAPHS * last_space(bodies[0]).inner
        self.ask = nn.Linear(channels, _PROTOTYPES, bias=False)
        self.prototypes = nn.Linear(_PROTOTYPES, channels, bias=False)
        self.mix = nn.Sequential(nn.Conv1d(channels, _WIDTH, 1), nn.BatchNorm1d(_WIDTH), nn.ReLU())
        self.leave = nn.Linear(config.joints**2, _WIDTH)
        self.register_buffer("memory", torch.zeros(len(config.labels), _WIDTH))

    def forward(self, network: TowerNetwork, reading: Reading, answers: Answers) -> Tensor:
        """Contrast of the clips with the memories."""
        found = reading.found[0]
        if found.before is None or found.owners is None:
            return reading.points.sum() * 0
        topology = last_space(network.bodies[0]).topology(*found.before).flatten(1, 2)
        vectors = self.vectors(topology, found.owners, len(reading.points))[answers.rows]
        cosine = F.normalize(vectors, dim=-1) @ F.normalize(self.memory, dim=-1).T
        if self.training:
            moved = remember(self.memory, vectors.detach(), answers.y, answers.right)
            self.memory.copy_(moved)
        return F.cross_entropy(cosine / _TEMPERATURE, answers.y)

    def vectors(self, topology: Tensor, owners: Tensor, clips: int) -> Tensor:
        """Topologies (R, C, V, V) of people to vectors (N, d) of their clips."""
        rows = topology.flatten(2).transpose(1, 2)
        rebuilt = self.prototypes(torch.softmax(self.ask(rows), dim=-1))
        flat = self.mix(rebuilt.transpose(1, 2)).mean(dim=1)
        return mean_of_people(self.leave(flat), owners, clips)


def last_space(body: nn.Module) -> RandomTopologies:
    """The space of the last block.

    Raises:
        ModelError: it has no topology that is rebuilt.
    """
    blocks: Any = getattr(body, "blocks", [None])
    space = getattr(blocks[-1], "space", None)
    if not isinstance(space, RandomTopologies):
        raise ModelError("aux 'prototypes' rebuilds the graphs of the space 'random'; set space")
    return space

"""The policy of AR-Net: small frames and a recurrent cell choose a size for each frame, or a skip.

Letters: N clips, T frames, A choices (sizes from the largest down, then skips), R sizes, D width of
the shared space, S side of a small frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from vlar.adapters.settings import Settings, setting
from vlar.training.tower_network import ResidualNetwork, draw
from vlar.types import Float32

_HOT, _FALL = 5.0, 3.0  # temperature at the start; it falls by exp(-3) over ``fade`` steps
_SHARP = 20.0  # at the end noise weighs this much less: the training ends with what use begins with
_WIDTH = 32  # of the recurrent cell


@dataclass(frozen=True)
class ArNetConfig(Settings):
    """Choices of the policy, and what operations weigh.

    Attributes:
        sizes: Pixels of a side, from the largest down; none for the encoder's own, three quarters
            and half of it.
        skips: Frames that a skip leaves out, this one included.
        small: Pixels of a side of what the policy reads.
        budget: Share of the operations of all frames at the largest size to aim at; None makes them
            as few as pay.
        saving: Weight of the operations in the loss.
        uniform: Weight of an even use of all choices at the start; it fades.
        fade: Steps of the training over which noise and even use fade.
        labels: Labels it is trained for.
    """

    sizes: tuple[int, ...] = ()
    skips: tuple[int, ...] = (1, 2, 4)
    small: int = setting(32, at_least=8, at_most=128)
    budget: float | None = setting(None, above=0, at_most=1)
    saving: float = setting(0.3, at_least=0)
    uniform: float = setting(0.3, at_least=0)
    fade: int = setting(120, at_least=1)
    labels: tuple[str, ...] = ()

    what: ClassVar[str] = "ar-net setting"


def cost(decisions: Float32, table: Float32) -> Float32:
    """Operations (N,) of decisions (N, T, A) by a table (A,) of what a choice costs in a frame."""
    return np.asarray(decisions @ np.asarray(table, decisions.dtype), decisions.dtype).sum(axis=1)


def hold(skips: Sequence[int]) -> list[bool]:
    """Frames that an earlier skip covers, so that nothing is decided in them.

    Args:
        skips: T numbers, the frames that a choice in this frame leaves out, itself included; 0
            where it encodes the frame. Those of covered frames do not count.

    >>> hold([0, 2, 0, 4, 0])
    [False, False, True, False, True]
    """
    holds, remaining = list[bool](), 0
    for skip in skips:
        holds.append(remaining > 0)
        remaining = remaining - 1 if remaining else max(skip - 1, 0)
    return holds


class ArNetwork(ResidualNetwork):
    """Small frames to decisions; the vectors of the clips are the encoder's."""

    steps: Tensor

    def __init__(self, config: ArNetConfig, table: Sequence[float], dim: int) -> None:
        super().__init__()
        self.config, self.sizes, self.skips = config, len(config.sizes), config.skips
        self.table = [*table, *(0.0 for _ in config.skips)]  # shares of the largest size
        self.look = nn.Sequential(
            nn.Conv2d(3, 8, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, _WIDTH, 3, 2, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.cell = nn.GRUCell(_WIDTH, _WIDTH)
        self.choose = nn.Linear(_WIDTH, len(self.table))
        self.register_buffer("steps", torch.zeros(()))
        self.register_labels(len(config.labels), dim)

    def residual(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to zeros (N, D): the vectors stay the encoder's."""
        return inputs.new_zeros(len(inputs), self.labels.shape[1])

    @property
    def faded(self) -> float:
        """Share (0 to 1) of ``fade`` that has passed."""
        return min(1.0, float(self.steps) / self.config.fade)

    def decide(self, small: Tensor, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Small frames (N, T, 3, S, S) to decisions (N, T, A), and which are held, (N, T) bool.

        The first frame is never skipped. With a seed choices are drawn, else the best are taken. A
        held frame has the decision of the skip that covers it, and the state of the cell stays.
        """
        state_inputs = self.look(small.flatten(0, 1)).unflatten(0, small.shape[:2])
        state = state_inputs.new_zeros(len(state_inputs), _WIDTH)
        skips = torch.zeros(len(state_inputs), dtype=torch.long)
        lengths = torch.tensor([0] * self.sizes + [skip - 1 for skip in self.skips])
        temperature, sharp = _HOT * math.exp(-_FALL * self.faded), _SHARP**self.faded
        choices, held, last = list[Tensor](), list[Tensor](), torch.zeros(())
        for step in range(state_inputs.shape[1]):
            covered = skips > 0
            state = torch.where(covered[:, None], state, self.cell(state_inputs[:, step], state))
            logits = self.choose(state)
            if step == 0:
                barred = torch.arange(logits.shape[1]) >= self.sizes
                logits = logits.masked_fill(barred, -1e4)
            now = draw(
                sharp * logits, sharp * temperature, seed=None if seed is None else seed + step
            )
            last = torch.where(covered[:, None], last, now)
            skips = torch.where(covered, skips - 1, lengths[now.argmax(dim=1)])
            choices.append(last)
            held.append(covered)
        return torch.stack(choices, dim=1), torch.stack(held, dim=1)

    def share(self, decisions: Tensor) -> Tensor:
        """(N, T, A) to (N,) operations, of those of all frames at the largest size."""
        return (decisions @ torch.tensor(self.table)).mean(dim=1)

    def pooled_sizes(self, decisions: Tensor, rows: Tensor) -> Tensor:
        """Decisions and unit vectors of each frame and size (N, T, R, D) to (N, D) of unit length.

        The mean over the frames that are not skipped.
        """
        used = decisions[..., : self.sizes]
        return nn.functional.normalize((used[..., None] * rows).sum(dim=(1, 2)), dim=-1)

    def losses(self, decisions: Tensor) -> dict[str, Tensor]:
        """Operations, against the budget where there is one, and how uneven the choices are."""
        of = self.share(decisions).mean()
        budget = self.config.budget
        aim = of if budget is None else 10 * (of - budget) ** 2
        even = (decisions.mean(dim=(0, 1)) - 1 / decisions.shape[2]).norm()
        weight = self.config.uniform * (1 - self.faded)
        return {"operations": self.config.saving * aim, "uniform": weight * even}

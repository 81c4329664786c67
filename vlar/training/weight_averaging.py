"""Averages of weights: over steps, over epochs, and between the start and the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vlar.training.hyperparameters import Plan

Named = Sequence[tuple[str, nn.Parameter]]


class Average:
    """The average of the trained parameters that a plan asks for.

    Attributes:
        values: The average by name, float32; empty before the first.
        count: Epochs in a uniform average.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.values: dict[str, Tensor] = {}
        self.count = 0

    @torch.no_grad()
    def after_step(self, named: Named, step: int) -> None:
        """Move an exponential average; its memory is short at first (1, 2, 3 ... steps)."""
        if self.plan.average != "ema":
            return
        keep = min(self.plan.ema_decay, (1 + step) / (10 + step))
        for name, parameter in named:
            now = parameter.detach().float()
            if name in self.values:
                self.values[name].lerp_(now, 1 - keep)
            else:
                self.values[name] = now.clone()

    @torch.no_grad()
    def after_epoch(self, named: Named, epoch: int) -> None:
        """Add the end of an epoch (counted from 1) to a uniform average."""
        if self.plan.average != "uniform" or epoch < self.plan.average_from:
            return
        self.count += 1
        for name, parameter in named:
            now = parameter.detach().float()
            old = self.values.get(name)
            self.values[name] = now.clone() if old is None else old.lerp_(now, 1 / self.count)

    @torch.no_grad()
    def put(self, named: Named, start: Mapping[str, Tensor]) -> None:
        """Set the parameters to what the plan makes of the average and the start (WiSE-FT).

        ``ensemble`` is the weight of the trained parameters (Wortsman et al. 2022).
        """
        for name, parameter in named:
            value = self.values.get(name, parameter.detach().float())
            if self.plan.ensemble < 1 and not name.startswith(self.plan.ensemble_skips or ("\0",)):
                value = torch.lerp(start[name].float().to(value.device), value, self.plan.ensemble)
            parameter.copy_(value)

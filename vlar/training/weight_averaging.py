"""Averages of weights: over steps, over epochs, and between the start and the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vlar.training.hyperparameters import Hyperparameters

#: Trained parameters and the buffers that go with them, by name.
Named = Sequence[tuple[str, Tensor]]


def buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Buffers with fractions, such as the running means of a normalisation over batches."""
    return [
        (f"buffer {name}", buffer)
        for name, buffer in module.named_buffers()
        if buffer.is_floating_point()
    ]


class WeightAverage:
    """The average of the trained parameters and buffers that the hyperparameters ask for.

    Attributes:
        values: The average by name, float32; empty before the first.
        count: Epochs in a uniform average.
    """

    def __init__(self, numbers: Hyperparameters) -> None:
        self.numbers = numbers
        self.values: dict[str, Tensor] = {}
        self.count = 0

    @torch.no_grad()
    def after_step(self, named: Named, step: int) -> None:
        """Move an exponential average; its memory grows over the first steps."""
        if self.numbers.average != "ema":
            return
        keep = min(self.numbers.ema_decay, (1 + step) / (10 + step))
        for name, parameter in named:
            now = parameter.detach().float()
            if name in self.values:
                self.values[name].lerp_(now, 1 - keep)
            else:
                self.values[name] = now.clone()

    @torch.no_grad()
    def after_epoch(self, named: Named, epoch: int) -> None:
        """Add the end of an epoch (counted from 1) to a uniform average."""
        if self.numbers.average != "uniform" or epoch < self.numbers.average_from:
            return
        self.count += 1
        for name, parameter in named:
            now = parameter.detach().float()
            old = self.values.get(name)
            self.values[name] = now.clone() if old is None else old.lerp_(now, 1 / self.count)

    @torch.no_grad()
    def put(self, named: Named, start: Mapping[str, Tensor]) -> None:
        """Set parameters and buffers to the average, mixed with the start where asked (WiSE-FT).

        ``ensemble`` is the weight of the trained parameters (Wortsman et al. 2022).
        """
        for name, parameter in named:
            if not isinstance(parameter, nn.Parameter) and torch.equal(parameter, start[name]):
                continue  # a buffer that no step has changed keeps its type's exact value
            value = self.values.get(name, parameter.detach().float())
            if self.numbers.ensemble < 1 and not name.startswith(
                self.numbers.ensemble_skips or ("\0",)
            ):
                value = torch.lerp(
                    start[name].float().to(value.device), value, self.numbers.ensemble
                )
            parameter.copy_(value)

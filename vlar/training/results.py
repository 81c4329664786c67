"""What a training reports: its epochs, and sums over the clips of its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vlar.types import Failure, JsonDict


@dataclass(frozen=True)
class Epoch:
    """What an epoch reached.

    Attributes:
        number: Counted from 1.
        losses: Mean of each loss over the clips.
        metrics: Mean of each metric of the task over the (changed) clips, 0 to 1; ``accuracy`` is
            always among them.
        rate: Learning rate of the first group at the end.
    """

    number: int
    losses: Mapping[str, float]
    metrics: Mapping[str, float]
    rate: float

    @property
    def accuracy(self) -> float:
        """Share of the clips whose best answer is right, 0 to 1."""
        return self.metrics["accuracy"]

    def to_dict(self) -> JsonDict:
        """JSON object without the number."""
        return {"losses": dict(self.losses), **self.metrics, "rate": self.rate}


#: Called after each epoch.
EpochCallback = Callable[[Epoch], None]
#: Called after each optimiser step with the number of clips in it.
StepCallback = Callable[[int], None]


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        epochs: What the epochs of this run reached; a resumed run lists those after its start.
        steps: Optimiser steps in all.
        failed: Recordings that could not be read.
        resumed_at: Step of the checkpoint it was resumed from; 0 for a new training.
    """

    epochs: tuple[Epoch, ...]
    steps: int
    failed: tuple[Failure, ...]
    resumed_at: int


@dataclass
class Totals:
    """Sums of losses and metrics over clips.

    Attributes:
        losses: Sum of each loss, weighted by clips.
        metrics: Sum of each metric.
        clips: Number of clips.
    """

    losses: dict[str, float]
    metrics: dict[str, float]
    clips: int = 0

    def add(self, losses: Mapping[str, float], metrics: Mapping[str, float], clips: int) -> None:
        """Add the mean losses and the summed metrics of some clips."""
        for name, value in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + value * clips
        for name, value in metrics.items():
            self.metrics[name] = self.metrics.get(name, 0.0) + value
        self.clips += clips

    def means(self) -> tuple[dict[str, float], dict[str, float]]:
        """Mean losses and metrics over the clips."""
        count = max(self.clips, 1)
        return (
            {name: value / count for name, value in self.losses.items()},
            {name: value / count for name, value in self.metrics.items()},
        )

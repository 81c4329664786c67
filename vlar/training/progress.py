"""Cost of a training: a note after its first steps, and progress clip by clip."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vlar.errors import TrainingError
from vlar.types import Failure, JsonDict, ProgressCallback

_log = logging.getLogger("vlar")
_WORTH_A_NOTE_S = 30.0
MEASURED_STEPS, _LONGEST_WAIT_S = 3, 10.0
_MOST_WAITING = 100  # micro-batches whose losses are not read yet
LONG_S = 60.0  # of one training; above it at most two folds are held out


class TrainingCost:
    """Counts clips through the training steps and estimates the time they take.

    The training on all examples comes first. Those without a fold follow, and there are at most two
    of them where one training takes over a minute.

    Args:
        what: What is trained, for the note: ``lora by general/adapt-cpu``.
        once: Clips that go through the steps of one training, each as often as it is used.
        progress: Called with the clips of each step; None for none.
        folds: The same of all trainings without a fold; 0 for none.
    """

    def __init__(
        self, what: str, once: int, progress: ProgressCallback | None, folds: int = 0
    ) -> None:
        self.what, self.once, self.folds, self.progress = what, once, folds, progress
        self._begin = self._after_first = time.monotonic()
        self._steps = self._measured = 0
        self._told = False

    @property
    def passes(self) -> int:
        """Clips that go through training steps in all."""
        return self.once + self.folds

    def start(self) -> None:
        """Start the clock; called when everything is built."""
        self._begin = time.monotonic()
        begin_stage(self.progress, f"training {self.what}", self.passes, "clips")

    def __call__(self, clips: int) -> None:
        """Count the clips of one step; one of the first calls logs the estimate."""
        if not self._told:
            self._estimate(clips)
        if self.progress is not None:
            self.progress(clips)

    def _estimate(self, clips: int) -> None:
        """Log the estimate once it is known: the first step also builds what later ones find."""
        now = time.monotonic()
        self._steps += 1
        if self._steps == 1:
            self._after_first = now
            clip_s = (now - self._begin) / max(clips, 1)
        else:
            self._measured += clips
            clip_s = (now - self._after_first) / max(self._measured, 1)
        if self._steps < MEASURED_STEPS and now - self._begin < _LONGEST_WAIT_S:
            return
        self._told = True
        one_s = clip_s * self.once
        passes = self.once + (min(self.folds, self.once) if one_s > LONG_S else self.folds)
        if clip_s * passes > _WORTH_A_NOTE_S:
            _log.info(
                "training %s: %d clips go through it, about %s",
                self.what,
                passes,
                duration(clip_s * passes),
            )

    def is_long(self) -> bool:
        """Return whether the training on all examples took over a minute; called when it is over.

        The folds are halves then (``halves``): together they cost as much as it did.
        """
        seconds = time.monotonic() - self._begin
        if seconds <= LONG_S:
            return False
        self.folds = min(self.folds, self.once)
        if self.progress is not None and self.folds:
            self.progress(0, total=self.passes)
        _log.info("one training took %s: at most two halves are held out", duration(seconds))
        return True


def begin_stage(progress: ProgressCallback | None, what: str, total: int, unit: str) -> None:
    """Begin another stage of a progress that has a method ``stage``; others are given the total.

    Args:
        progress: None for none.
        what: The work, such as ``reading clips without labels``.
        total: Units in all.
        unit: What is counted, in the plural.
    """
    if (stage := getattr(progress, "stage", None)) is not None:
        stage(what, total, unit)
    elif progress is not None:
        progress(0, total=total)


def duration(seconds: float) -> str:
    """A rough time for a person.

    >>> duration(45), duration(100), duration(7300)
    ('1 minute', '2 minutes', '2.0 hours')
    """
    if seconds >= 90 * 60:
        return f"{seconds / 3600:.1f} hours"
    minutes = max(1, round(seconds / 60))
    return f"{minutes} minute{'s' if minutes > 1 else ''}"


@dataclass(frozen=True)
class Epoch:
    """Result of an epoch.

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


@dataclass(frozen=True)
class _Micro:
    """Mean losses and summed metrics of a micro-batch: scalars by name, on their device."""

    step: int
    rows: Sequence[int]
    losses: Mapping[str, Tensor]
    metrics: Mapping[str, Tensor]


class Totals:
    """Sums of losses and metrics over clips.

    A device computes ahead of the host until the host reads a number. So the scalars stay there,
    and ``read`` fetches those of many micro-batches at once; on the CPU, those of each.

    Args:
        paths: Recordings of the training, for errors.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._waiting: list[_Micro] = []
        self._losses: dict[str, float] = {}
        self._metrics: dict[str, float] = {}
        self.clips = 0

    def add(
        self,
        step: int,
        rows: Sequence[int],
        losses: Mapping[str, Tensor],
        metrics: Mapping[str, Tensor],
    ) -> None:
        """Add the mean losses and the summed metrics of some clips.

        Raises:
            TrainingError: a loss that was read is not finite.
        """
        losses = {name: value.detach() for name, value in losses.items()}
        self._waiting.append(_Micro(step, rows, losses, metrics))
        self.clips += len(rows)
        if losses["total"].device.type == "cpu" or len(self._waiting) == _MOST_WAITING:
            self.read()

    def read(self) -> None:
        """Fetch what waits on the device.

        Raises:
            TrainingError: a loss is not finite.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        device = waiting[0].losses["total"].device
        scalars = [
            value.reshape(()).to(device, torch.float32)
            for micro in waiting
            for value in (*micro.losses.values(), *micro.metrics.values())
        ]
        numbers = iter(torch.stack(scalars).tolist())
        for micro in waiting:
            for name, value in zip(micro.losses, numbers, strict=False):
                if not math.isfinite(value):
                    raise self._not_finite(name, value, micro)
                self._losses[name] = self._losses.get(name, 0.0) + value * len(micro.rows)
            for name, value in zip(micro.metrics, numbers, strict=False):
                self._metrics[name] = self._metrics.get(name, 0.0) + value

    def _not_finite(self, name: str, value: float, micro: _Micro) -> TrainingError:
        paths = ", ".join(str(self._paths[row]) for row in micro.rows)
        return TrainingError(
            f"loss {name!r} is {value} at step {micro.step + 1}, on the clips {paths}; lower "
            "learning_rate, set clip_norm, or check these recordings"
        )

    def means(self) -> tuple[dict[str, float], dict[str, float]]:
        """Mean losses and metrics over the clips.

        Raises:
            TrainingError: a loss is not finite.
        """
        self.read()
        count = max(self.clips, 1)
        return (
            {name: value / count for name, value in self._losses.items()},
            {name: value / count for name, value in self._metrics.items()},
        )

"""Cost of a training: a note after its first steps, and progress clip by clip."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from vlar.types import Failure, JsonDict, ProgressCallback

_log = logging.getLogger("vlar")
_WORTH_A_NOTE_S = 30.0
_MEASURED_STEPS, _LONGEST_WAIT_S = 3, 10.0
LONG_S = 60.0  # of one training; above it at most two folds are held out


@runtime_checkable
class StagedProgress(ProgressCallback, Protocol):
    """A progress that names its stages; units are counted from 0 in each."""

    def stage(self, what: str, total: int | None = None, unit: str = "files") -> None: ...


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
            seconds_each = (now - self._begin) / max(clips, 1)
        else:
            self._measured += clips
            seconds_each = (now - self._after_first) / max(self._measured, 1)
        if self._steps < _MEASURED_STEPS and now - self._begin < _LONGEST_WAIT_S:
            return
        self._told = True
        one_s = seconds_each * self.once
        passes = self.once + (min(self.folds, self.once) if one_s > LONG_S else self.folds)
        if seconds_each * passes > _WORTH_A_NOTE_S:
            _log.info(
                "training %s: %d clips go through it, about %s",
                self.what,
                passes,
                duration(seconds_each * passes),
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
    """Begin another stage of a progress that has stages; others are given the total.

    Args:
        progress: None for none.
        what: The work, such as ``reading clips without labels``.
        total: Units in all.
        unit: What is counted, in the plural.
    """
    if isinstance(progress, StagedProgress):
        progress.stage(what, total, unit)
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


@dataclass
class Totals:
    """Sums of losses and metrics over clips."""

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

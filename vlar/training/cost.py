"""Cost of a training: a note after its first steps, and progress clip by clip."""

from __future__ import annotations

import logging
import time
from typing import Protocol, runtime_checkable

from vlar.types import ProgressCallback

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
            each = (now - self._begin) / max(clips, 1)
        else:
            self._measured += clips
            each = (now - self._after_first) / max(self._measured, 1)
        if self._steps < _MEASURED_STEPS and now - self._begin < _LONGEST_WAIT_S:
            return
        self._told = True
        one_s = each * self.once
        passes = self.once + (min(self.folds, self.once) if one_s > LONG_S else self.folds)
        if each * passes > _WORTH_A_NOTE_S:
            _log.info(
                "training %s: %d clips go through it, about %s",
                self.what, passes, duration(each * passes),
            )  # fmt: skip

    def is_long(self) -> bool:
        """Whether the training on all examples took over a minute; called when it is over.

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

"""What a training will cost: a note after its first step, and progress clip by clip."""

from __future__ import annotations

import logging
import time
from typing import Protocol, runtime_checkable

from vlar.types import ProgressCallback

_log = logging.getLogger("vlar")
_WORTH_A_NOTE_S = 30.0


@runtime_checkable
class StagedProgress(ProgressCallback, Protocol):
    """A progress that names its stages; units are counted from 0 in each."""

    def stage(self, what: str, total: int | None = None, unit: str = "files") -> None: ...


class TrainingCost:
    """Counts clips through the training steps and estimates the time they take.

    Args:
        what: What is trained, for the note: ``lora by general/adapt-cpu``.
        passes: Clips that go through training steps in all, each as often as it is used.
        progress: Called with the clips of each step; None for none.
    """

    def __init__(self, what: str, passes: int, progress: ProgressCallback | None) -> None:
        self.what, self.passes, self.progress = what, passes, progress
        self._begin, self._told = time.monotonic(), False

    def start(self) -> None:
        """Start the clock; called when everything is built."""
        self._begin = time.monotonic()
        begin_stage(self.progress, f"training {self.what}", self.passes, "clips")

    def __call__(self, clips: int) -> None:
        """Count the clips of one step; the first call logs the estimate."""
        if not self._told:
            self._told = True
            seconds = (time.monotonic() - self._begin) * self.passes / max(clips, 1)
            if seconds > _WORTH_A_NOTE_S:
                _log.info(
                    "training %s: %d clips go through it, about %s",
                    self.what, self.passes, duration(seconds),
                )  # fmt: skip
        if self.progress is not None:
            self.progress(clips)


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

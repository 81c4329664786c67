"""Interface of a detector: boxes of a named thing, over the frames of a clip."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vlar import registry
from vlar.errors import UsageError
from vlar.types import Float32, Float64, UInt8

PERSON = "person"


@dataclass(frozen=True)
class Boxes:
    """n boxes in the frames of one clip, in any order.

    Attributes:
        rows: (n, 5) float32: time_s, x1, y1, x2, y2; seconds of the clip, pixels of its frames.
        scores: (n,) float32 from 0 to 1, the certainty of the detector.
        tracks: (n,) int64 number of the person or thing, where the detector follows them; None
            where boxes are not linked between frames.
        joints: (n, 33, 3) float32: x and y in pixels and the probability of being visible, in the
            layout ``vlar.pose.skeletons.BLAZEPOSE_33``; None where the detector finds none.
    """

    rows: Float32
    scores: Float32
    tracks: np.ndarray | None = None
    joints: Float32 | None = None

    @classmethod
    def none(cls) -> Boxes:
        """No box."""
        return cls(np.zeros((0, 5), np.float32), np.zeros(0, np.float32))

    def __len__(self) -> int:
        """Number n of boxes."""
        return len(self.rows)


class Detector(ABC):
    """Finds people, things or movement. Registered as ``@register("detector", NAME)``.

    Attributes:
        name: As registered.
        finds: ``people``, ``movement`` (whatever it is), or ``words`` (what a prompt names).
        rate_hz: Frames a second it needs to follow what moves.
    """

    name: ClassVar[str]
    finds: ClassVar[str] = "people"
    rate_hz: ClassVar[float] = 8.0

    @classmethod
    def from_spec(cls, argument: str) -> Detector:
        """The detector; ``argument`` is the text after ``NAME:`` in a spec.

        Raises:
            UsageError: this detector takes no argument, and there is one.
            ModelError: its weights or its library are missing.
        """
        if argument:
            raise UsageError(
                f"detector {cls.name!r} takes no argument, got {argument!r}; use {cls.name!r}"
            )
        return cls()

    @abstractmethod
    def detect(self, frames: UInt8, times_s: Float64, prompt: str = PERSON) -> Boxes:
        """Boxes in the frames of one clip.

        Args:
            frames: (T, H, W, 3) uint8 RGB in the order of time.
            times_s: (T,) float64, when each is shown.
            prompt: What to look for, a noun. Detectors of people and of movement do not read it.
        """

    def confirms(self, frames: UInt8, times_s: Float64, boxes: Float32) -> bool:
        """Confirm that motion along boxes is what this detector finds; here always False.

        Args:
            frames: The same as for ``detect``.
            times_s: The same as for ``detect``.
            boxes: (n, 5) float32 by time: time_s, x1, y1, x2, y2.
        """
        return False

    def check_noun(self, noun: str, is_person: bool) -> None:
        """Refuse what this detector cannot find.

        Raises:
            UsageError: it finds people, and something else is asked for.
        """
        if self.finds == "people" and not is_person:
            raise UsageError(
                f"detector {self.name!r} finds people, and {noun!r} is something else; use "
                "--detector hf:FOLDER with a zero-shot detector, or --detector motion for what "
                "moves"
            )


def load_detector(spec: str) -> Detector:
    """The detector that ``NAME`` or ``NAME:ARGUMENT`` names.

    Raises:
        UnknownNameError: no detector has this name.
        UsageError: its argument cannot be used.
        ModelError: its weights or its library are missing.
    """
    return registry.load("detector", spec)

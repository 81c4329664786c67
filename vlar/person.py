"""A person (or a thing) whom an answer is about: which of those found, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Person:
    """One of the people (or things) of a recording.

    Attributes:
        number: From 1, counted from the left; in a library, the number of the track.
        of: How many are found.
        box: x1, y1, x2, y2 of where they are in the middle of the span, in shares (0 to 1) of the
            frame's width and height.
        score: How sure it is that this is the one who was asked for, 0 to 1.
    """

    number: int
    of: int
    box: tuple[float, float, float, float]
    score: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the command line."""
        return {
            "number": self.number,
            "of": self.of,
            "box": [round(side, 4) for side in self.box],
            "score": round(self.score, 4),
        }

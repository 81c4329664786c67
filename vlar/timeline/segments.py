"""Answers over time joined to segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vlar.types import Classification, JsonDict

UNKNOWN = "unknown"
_TOUCH_S = 1e-3


@dataclass(frozen=True)
class Segment:
    """Windows of one recording that follow each other with one answer.

    Attributes:
        path: The recording.
        start_s: Seconds.
        end_s: Seconds.
        label: The answer; None is unknown.
        probability: Mean of the answer's probabilities, weighted by time, 0 to 1.
        lost: The greatest share (0 to 1) of samples that are lost in one of the windows.
    """

    path: str
    start_s: float
    end_s: float
    label: str | None
    probability: float
    lost: float = 0.0

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {
            "path": self.path,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "label": self.label,
            "probability": round(self.probability, 6),
            "lost": round(self.lost, 4),
        }


def segments(rows: Sequence[Classification]) -> list[Segment]:
    """Answers in the order of time, those of one label joined.

    Where windows overlap (the last one of a video ends with it), the later one begins where the
    earlier one ends.
    """
    found: list[Segment] = []
    for row in sorted(rows, key=lambda r: (str(r.path), r.start_s)):
        label = row.label
        probability = row.unknown_probability if label is None else row.predictions[0].probability
        found.append(Segment(str(row.path), row.start_s, row.end_s, label, probability, row.lost))
    return joined(found)


def joined(pieces: Iterable[Segment]) -> list[Segment]:
    """Segments in the order of time, those of one label that touch joined."""
    found: list[Segment] = []
    for new in pieces:
        last = found[-1] if found else None
        if last is None or last.path != new.path or last.end_s < new.start_s - _TOUCH_S:
            found.append(new)
            continue
        start_s = max(new.start_s, last.end_s)
        if new.end_s <= start_s:
            continue
        if last.label == new.label:
            found[-1] = _longer(last, start_s, new)
        else:
            found.append(replace(new, start_s=start_s))
    return found


def _longer(last: Segment, start_s: float, new: Segment) -> Segment:
    before_s, after_s = last.end_s - last.start_s, new.end_s - start_s
    total = before_s * last.probability + after_s * new.probability
    mean = total / (before_s + after_s)
    lost = max(last.lost, new.lost)
    return replace(last, end_s=new.end_s, probability=mean, lost=lost)

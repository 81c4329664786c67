"""A labelled span of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vlar.errors import UsageError

_LATEST_S = 1e12


@dataclass(frozen=True)
class Segment:
    """A labelled span of a recording: what people annotate, timelines answer, formats carry.

    Attributes:
        recording: Name or path of the recording; of BORIS the id of the observation.
        start_s: Seconds from the beginning of the recording.
        end_s: Seconds, at least ``start_s``; a point event has both equal.
        label: The behaviour, action or other label.
        subject: The animal or person; empty for none.
        tier: The tier, stream or category that the label belongs to; empty for none.
        rater: The person or model that annotated; empty where the file does not name one.
        modifiers: Details of the label, such as modifiers of BORIS.
        probability: 0 to 1; None for an annotation by a person.
    """

    recording: str
    start_s: float
    end_s: float
    label: str
    subject: str = ""
    tier: str = ""
    rater: str = ""
    modifiers: tuple[str, ...] = ()
    probability: float | None = None

    def __post_init__(self) -> None:
        if not (abs(self.start_s) < _LATEST_S and abs(self.end_s) < _LATEST_S):
            raise UsageError(
                f"segment {self.label[:60]!r} of {self.recording[:80]!r}: its times "
                f"{self.start_s} and {self.end_s} are not finite or beyond 1e12 s; give seconds"
            )
        if self.end_s < self.start_s:
            raise UsageError(
                f"segment {self.label[:60]!r} of {self.recording[:80]!r} ends at {self.end_s:g} s "
                f"before it starts at {self.start_s:g} s; exchange or correct its times"
            )

    @property
    def is_point(self) -> bool:
        """Whether it is a point event, which has no duration."""
        return self.end_s == self.start_s

    @property
    def duration_s(self) -> float:
        """Seconds from start to end; 0 for a point event."""
        return self.end_s - self.start_s

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the command line, without what is empty."""
        row: dict[str, Any] = {
            "recording": self.recording,
            "start_s": round(self.start_s, 6),
            "end_s": round(self.end_s, 6),
            "label": self.label,
        }
        row |= {name: getattr(self, name) for name in ("subject", "tier", "rater")}
        row["modifiers"] = list(self.modifiers)
        row["probability"] = self.probability
        return {name: value for name, value in row.items() if value or name in _ALWAYS}


_ALWAYS = ("recording", "start_s", "end_s", "label")


def in_order(segments: list[Segment]) -> list[Segment]:
    """Segments in the order of start, then label; equal ones by end, subject and tier."""
    return sorted(segments, key=lambda s: (s.start_s, s.label, s.end_s, s.subject, s.tier))

"""Found spans: what a query of a library answers with. ``vlar.types`` has them too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class HitPart:
    """One phrase of a query on a span: its best window there, and how well that fits."""

    phrase: str
    start_s: float
    end_s: float
    probability: float
    similarity: float

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the command line."""
        return {
            "phrase": self.phrase,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "probability": round(self.probability, 6),
            "similarity": round(self.similarity, 6),
        }


@dataclass(frozen=True)
class Copy:
    """A span of another recording that shows the same as a hit."""

    path: str
    start_s: float
    end_s: float

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the command line."""
        return {
            "path": self.path,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
        }


@dataclass(frozen=True)
class Hit:
    """One span of a library that answers a query.

    Attributes:
        rank: 1 for the best.
        path: The recording.
        start_s: Seconds.
        end_s: Seconds.
        score: 0 to 1; it ranks. For a plain phrase it is the probability.
        probability: Calibrated; of a query with operators, that of the weakest part.
        similarity: Cosine of the best window; of a query with operators, the mean of the parts.
        tags: Of the recording.
        parts: The best window of each phrase of a query with operators; else empty.
        also: Spans of other recordings that show the same (copies).
        lost: Greatest share (0 to 1) of lost or doubtful frames among the span's windows.
        caption: What the best window is said to show, in a library with captions; else empty.
        track: In a library with rows of people, whom the best window shows: the number of a person
            in the recording, from 1; None for the whole frame, and for a sequence of windows.
        box: x1, y1, x2, y2 of that person at ``box_s``, in shares (0 to 1) of the frame's width and
            height; None without a track.
        box_s: Middle of the best window in seconds, where the box was found; None without a track.
    """

    rank: int
    path: str
    start_s: float
    end_s: float
    score: float
    probability: float
    similarity: float
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    parts: tuple[HitPart, ...] = ()
    also: tuple[Copy, ...] = ()
    lost: float = 0.0
    caption: str = ""
    track: int | None = None
    box: tuple[float, float, float, float] | None = None
    box_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the command line."""
        facts: dict[str, Any] = {
            "rank": self.rank,
            "path": self.path,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "score": round(self.score, 6),
            "probability": round(self.probability, 6),
            "similarity": round(self.similarity, 6),
            "tags": dict(self.tags),
            "lost": round(self.lost, 4),
        }
        if self.track is not None and self.box is not None and self.box_s is not None:
            box = [round(side, 4) for side in self.box]
            facts |= {"track": self.track, "box": box, "box_s": round(self.box_s, 3)}
        facts |= {"caption": self.caption} if self.caption else {}
        facts |= {"also": [copy.to_dict() for copy in self.also]} if self.also else {}
        facts |= {"parts": [part.to_dict() for part in self.parts]} if self.parts else {}
        return facts

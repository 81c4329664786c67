"""Answers of a search: spans of a library, their parts and their copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vlar import notebook
from vlar.formatting import clock, lost_remark, plain, without_boxes

WEAK_MATCH = 0.2  # a hit below it is weak, unless it is far ahead (evals/results/search.json)


@dataclass(frozen=True)
class HitPart:
    """One phrase of a query on a span: its best window there, and how well that fits."""

    phrase: str
    start_s: float
    end_s: float
    probability: float
    similarity: float

    @property
    def weak(self) -> bool:
        """True where the phrase is likely not shown."""
        return self.probability < WEAK_MATCH

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the command line."""
        facts: dict[str, Any] = {
            "phrase": self.phrase,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "probability": round(self.probability, 6),
            "similarity": round(self.similarity, 6),
        }
        return facts | ({"weak": True} if self.weak else {})


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
        score: 0 to 1; it ranks. For a plain phrase it is the probability; with operators or a
            re-ranker it only ranks, and is not a probability.
        probability: That of the moment; of a query with operators, that of the weakest part.
        similarity: Cosine of the best window; of a query with operators, the mean of the parts.
        tags: Tags of the recording.
        parts: The best window of each phrase of a query with operators; else empty.
        also: Spans of other recordings that show the same (copies).
        lost: Greatest share (0 to 1) of lost or doubtful frames among the span's windows.
        caption: Caption of the best window, in a library with captions; else empty.
        track: In a library with rows of people, the person of the best window: the number in the
            recording, from 1; None for the whole frame, and for a sequence of windows.
        box: x1, y1, x2, y2 of that person at ``box_s``, in shares (0 to 1) of the frame's width and
            height; None without a track.
        box_s: Middle of the best window in seconds, where the box was found; None without a track.
        best_s: Middle of the best window in seconds, which a picture of the hit shows; None for a
            sequence of windows.
        row: Id of the row of the best window, which ``Library.refine`` takes as a judgement; of a
            sequence that of its first window.
        standing: How the hit stands among the recordings of the library: ``clear`` (ahead of all
            others), ``close`` (among several that are nearly as good), ``none``.
        written: Content words of the phrase that stand in the name, the tags or the caption.
        origin: In a library that changed its model lazily: ``mapped`` where a window's vector is
            predicted from that of the earlier model, else ``encoded``; empty in other libraries.
        calibrated: Whether constants of its probability were fitted to the model.
        understood: The English text that a phrase in another language is read as, by phrase.
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
    best_s: float | None = None
    row: int = 0
    standing: str = "none"
    written: tuple[str, ...] = ()
    origin: str = ""
    calibrated: bool = True
    understood: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def found_by(self) -> str:
        """The leg that found the hit: ``seen``, ``written`` (its picture is weak) or ``both``."""
        if not self.written:
            return "seen"
        return "written" if self.weak else "both"

    @property
    def weak(self) -> bool:
        """True where the hit is likely wrong: improbable by itself, and not ahead of the others."""
        return self.probability < WEAK_MATCH and self.standing != "clear"

    @property
    def stated(self) -> str:
        """The probability for people; of a query with operators those of its phrases.

        >>> Hit(1, "a.mp4", 0.0, 4.0, 0.634, 0.634, 0.2).stated
        '63.4%'
        """
        if not self.parts:
            return f"{self.probability:.1%}"
        return ", ".join(f"{part.phrase} {part.probability:.1%}" for part in self.parts)

    def lines(self) -> list[str]:
        """The hit as the command line prints it, and a second line with a caption."""
        tags = "".join(f"  {key}={value}" for key, value in sorted(self.tags.items()))
        span = f"{clock(self.start_s)} to {clock(self.end_s)}"
        span += "" if self.track is None else f"  person {self.track}"
        span += f"  ({self.stated})" if self.parts else ""
        copies = (f"{c.path} {clock(c.start_s)} to {clock(c.end_s)}" for c in self.also)
        also = f"  (the same in {', '.join(copies)})" if self.also else ""
        alone = "" if self.parts else f" {self.stated:>6}"
        words = f"  (written: {' '.join(self.written)})" if self.written else ""
        origin = f"  ({self.origin})" if self.origin else ""
        shown_as = f"{span}{tags}{words}{also}{origin}{lost_remark(self.lost)}"
        first = f"{self.rank:3}.{alone}  {self.path}  {shown_as}"
        return [first, *([f"      {without_boxes(self.caption)}"] if self.caption else [])]

    def __str__(self) -> str:
        """The lines of the command line."""
        return "\n".join(map(plain, self.lines()))

    def _repr_html_(self) -> str:
        """A card with a picture, for notebooks."""
        middle_s = (self.start_s + self.end_s) / 2
        at_s = next((t for t in (self.box_s, self.best_s) if t is not None), middle_s)
        return notebook.card(self.path, at_s, self.lines(), {})

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
            "row": self.row,
            "standing": self.standing,
            "calibrated": self.calibrated,
        }
        if self.track is not None and self.box is not None and self.box_s is not None:
            box = [round(side, 4) for side in self.box]
            facts |= {"track": self.track, "box": box, "box_s": round(self.box_s, 3)}
        facts |= {"weak": True} if self.weak else {}
        facts |= {"written": list(self.written), "found_by": self.found_by} if self.written else {}
        facts |= {"caption": self.caption} if self.caption else {}
        facts |= {"origin": self.origin} if self.origin else {}
        facts |= {"understood": dict(self.understood)} if self.understood else {}
        facts |= {"also": [copy.to_dict() for copy in self.also]} if self.also else {}
        facts |= {"parts": [part.to_dict() for part in self.parts]} if self.parts else {}
        return facts

"""Report of a learning from annotated recordings."""

from __future__ import annotations

from dataclasses import dataclass

from vlar.behaviour.annotated.head import NAME, timeline_of
from vlar.behaviour.annotated.recordings import AnswerReport
from vlar.model.folder import holds_head, read_model
from vlar.types import Failure, JsonDict

FIGURES = "figures"
"""Key of the figures held out in the facts of a head."""


@dataclass(frozen=True)
class AnnotatedReport:
    """Facts of a learning from annotated recordings.

    Attributes:
        recordings: Number of recordings that were learned from.
        minutes: Minutes of annotated time.
        held_out: ``recording``, or ``quarter`` of a single recording.
        tracks: For each track its labels with seconds, kappa and bout F1 held out, least durations.
        failed: Recordings that could not be read.
        notes: What was left out or assumed, a sentence each.
        points: Points of each recording and those of the model.
    """

    recordings: int
    minutes: float
    held_out: str
    tracks: tuple[JsonDict, ...]
    failed: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    points: tuple[AnswerReport, ...] = ()

    def summary(self) -> list[str]:
        """The report in lines of text."""
        lines = [
            f"learned {self.minutes:.1f} annotated minutes of {self.recordings} recordings; held "
            f"out by {self.held_out}:"
        ]
        for track in self.tracks:
            name = " ".join(filter(None, (track["tier"], track["subject"]))) or "labels"
            lines.append(f"{name}: kappa {track['kappa']:.2f}")
            lines += [
                f"  {label}: {row['seconds']:.0f} s, bout F1 {row['bout_f1']:.2f}, at least "
                f"{row['least_s']:.1f} s"
                for label, row in track["labels"].items()
            ]
        return lines

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {
            "recordings": self.recordings,
            "minutes": round(self.minutes, 2),
            "held_out": self.held_out,
            "tracks": list(self.tracks),
            "notes": list(self.notes),
            "points": [row.to_dict() for row in self.points],
            "failed": [row.to_dict() for row in self.failed],
        }


def held_out_sentence(model: str) -> str:
    """Sentence on the figures that a saved model had on what was held out; empty for none.

    Args:
        model: Folder of a model that learned from annotated recordings, or any other name.
    """
    if not holds_head(model, NAME):
        return ""
    head = timeline_of(read_model(model))
    try:
        by, tracks = head.source[FIGURES]
        texts = [
            f"kappa {float(track['kappa']):.2f} (bout F1: "
            + ", ".join(f"{k} {float(row['bout_f1']):.2f}" for k, row in track["labels"].items())
            + ")"
            for track in tracks
        ]
    except (KeyError, TypeError, ValueError, AttributeError):
        return ""
    return f"Each {by} held out in learning, it had {'; '.join(texts)}." if texts else ""

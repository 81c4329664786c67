"""Two models on the same recordings: figures, labels that changed, hits that moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlar.errors import MetricError
from vlar.metrics.checks import Record
from vlar.metrics.figures import Figure
from vlar.metrics.intervals import PairedDifference, paired
from vlar.metrics.result import EvaluatedClip, Evaluation, shown
from vlar.types import JsonDict

_MOST_MOVED = 200  # hits that a comparison names
_NAMED = 3  # labels that a sentence names


@dataclass(frozen=True)
class ComparedLabel(Record):
    """One label in both models.

    Attributes:
        label: The label.
        n: Clips that show it.
        right: Clips of these that each model answers with it.
        entered: Among the first ``n`` hits of the label, those that only the second model has.
    """

    label: str
    n: int
    right: tuple[int, int]
    entered: int


@dataclass(frozen=True)
class MovedHit:
    """A clip that is among the first hits of a label in one model only.

    Attributes:
        label: The label that is asked for; as many hits count as clips show it.
        clip: The clip, as the first model answered it.
        ranks: Place among all clips in each model, 1 for the first.
        shows: Whether the clip shows the label.
    """

    label: str
    clip: EvaluatedClip
    ranks: tuple[int, int]
    shows: bool

    def to_dict(self) -> JsonDict:
        """JSON object."""
        clip = self.clip
        return {
            "label": self.label,
            "path": str(clip.path),
            "start_s": round(clip.start_s, 3),
            "end_s": round(clip.end_s, 3),
            "ranks": list(self.ranks),
            "shows": self.shows,
        }


@dataclass(frozen=True)
class RunComparison:
    """Two models on the N clips that both could read.

    Attributes:
        models: Names of the models.
        n: N.
        groups: Groups that the clips come from.
        figures: ``top1`` and ``macro`` of each model with their intervals, of all its clips.
        difference: Second minus first: the share of right answers; None for one group.
        labels: The labels, those that changed most first.
        changed: Clips (first, second) whose answer differs.
        moved: Hits of labels that both models have and that moved, at most 200.
    """

    models: tuple[str, str]
    n: int
    groups: int
    figures: dict[str, tuple[Figure, Figure]]
    difference: PairedDifference | None
    labels: tuple[ComparedLabel, ...]
    changed: tuple[tuple[EvaluatedClip, EvaluatedClip], ...]
    moved: tuple[MovedHit, ...]

    @property
    def gained(self) -> int:
        """Clips that only the second model answers right."""
        return sum(b.right and not a.right for a, b in self.changed)

    @property
    def lost(self) -> int:
        """Clips that only the first model answers right."""
        return sum(a.right and not b.right for a, b in self.changed)

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {
            "models": list(self.models),
            "n": self.n,
            "groups": self.groups,
            "figures": {
                name: [
                    {
                        "value": row.value,
                        "interval": None if row.low is None else [row.low, row.high],
                    }
                    for row in both
                ]
                for name, both in self.figures.items()
            },
            "difference": self.difference and self.difference.to_dict(),
            "gained": self.gained,
            "lost": self.lost,
            "labels": [row.to_dict() for row in self.labels],
            "changed": [{**a.to_dict(), "second": b.to_dict()} for a, b in self.changed],
            "moved": [hit.to_dict() for hit in self.moved],
        }

    def summary(self) -> str:
        """A few lines for a person."""
        names = {"top1": "top-1", "macro": "mean over labels"}
        lines = [
            f"{names[name]}: "
            + ", ".join(f"{m} {shown(row)}" for m, row in zip(self.models, both, strict=True))
            for name, both in self.figures.items()
        ]
        lines.append(
            f"{self.n} clips read by both: {len(self.changed)} answers changed, {self.gained} are "
            f"right now, {self.lost} are wrong now"
        )
        if self.difference is None:
            lines.append("all clips are of one group, so the difference has no interval")
        else:
            row = self.difference.difference
            lines.append(
                f"difference {100 * row.value:+.1f} points ({100 * row.low:+.1f} to "
                f"{100 * row.high:+.1f}), p {self.difference.p:.3f}"
            )
        changed = [row for row in self.labels if row.right[0] != row.right[1]]
        for row in changed[:_NAMED]:
            lines.append(f"{row.label}: {row.right[0]}, then {row.right[1]} of {row.n} right")
        if self.moved:
            lines.append(f"{len(self.moved)} hits moved into or out of the first of their label")
        return "\n".join(lines)


def compare(first: Evaluation, second: Evaluation) -> RunComparison:
    """Compare two models that were evaluated on the same recordings.

    Args:
        first: The model that is there.
        second: The one that may take its place.

    Raises:
        MetricError: no clip is in both.
    """
    seconds = {_key(clip): clip for clip in second.clips}
    pairs = [(clip, seconds[_key(clip)]) for clip in first.clips if _key(clip) in seconds]
    if not pairs:
        raise MetricError(
            f"{first.model} and {second.model} were evaluated on other recordings; give both the "
            "same ones"
        )
    columns = {
        label: (first.labels.index(label), second.labels.index(label))
        for label in first.labels
        if label in second.labels
    }
    rows: list[ComparedLabel] = []
    moved: list[MovedHit] = []
    for label in sorted({label for clip, _ in pairs for label in clip.truth}):
        own = [pair for pair in pairs if label in pair[0].truth]
        hits = _moved(label, pairs, len(own), columns.get(label))
        right = (sum(a.right for a, _ in own), sum(b.right for _, b in own))
        entered = sum(hit.ranks[1] <= len(own) for hit in hits)
        rows.append(ComparedLabel(label, len(own), right, entered))
        moved += hits
    rows.sort(key=lambda row: (-abs(row.right[1] - row.right[0]), -row.entered, row.label))
    rights = [[clip.right for clip in clips] for clips in zip(*pairs, strict=True)]
    groups = [clip.group for clip, _ in pairs]
    figures = {name: (first.figure(name), second.figure(name)) for name in ("top1", "macro")}
    return RunComparison(
        (first.model, second.model),
        len(pairs),
        len(set(groups)),
        figures,
        paired(rights[1], rights[0], groups),
        tuple(rows),
        tuple((a, b) for a, b in pairs if (a.answer, a.unknown) != (b.answer, b.unknown)),
        tuple(moved[:_MOST_MOVED]),
    )


def _key(clip: EvaluatedClip) -> tuple[str, float, float, tuple[str, ...]]:
    return str(clip.path), round(clip.start_s, 3), round(clip.end_s, 3), clip.truth


def _moved(
    label: str,
    pairs: list[tuple[EvaluatedClip, EvaluatedClip]],
    most: int,
    columns: tuple[int, int] | None,
) -> list[MovedHit]:
    """Hits of a label that are among the first ``most`` in one model only."""
    if columns is None:
        return []
    ranks: list[list[int]] = []
    for side, column in enumerate(columns):
        order = np.argsort([-pair[side].scores[column] for pair in pairs], kind="stable")
        ranks.append((1 + np.argsort(order)).tolist())
    return [
        MovedHit(label, clip, (a, b), label in clip.truth)
        for (clip, _), a, b in zip(pairs, *ranks, strict=True)
        if (a <= most) != (b <= most)
    ]

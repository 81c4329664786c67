"""Evaluation of a model on labelled recordings: one frozen result with every figure."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import MetricError, UsageError, explained
from vlar.metrics.calibration import (
    ReliabilityBin,
    Threshold,
    expected_calibration_error,
    keeping_threshold,
    reliability,
)
from vlar.metrics.checks import Record, finite
from vlar.metrics.classification import (
    Confusion,
    average_precision,
    confusions,
    multilabel_map,
    ranks,
    worth_knowing,
)
from vlar.metrics.figures import FEWEST, Figure, percent, slices, with_interval
from vlar.metrics.intervals import Interval, bootstrap, mean_interval
from vlar.types import Failure, Float64, JsonDict

_NAMED = 3  # labels that a sentence names


@dataclass(frozen=True)
class EvaluatedClip:
    """One recording (or a span of it), what it shows and what was answered.

    Attributes:
        path: The recording.
        start_s: Seconds.
        end_s: Seconds.
        group: Clips of one group resemble each other: a person, a source video.
        truth: What it shows, as the label list spells it; several with ``mode="multi"``.
        answer: The best label.
        probability: Probability of the answer, 0..1.
        rank: Place of the best label that it shows, 1 for the first.
        truth_probability: Probability of that label.
        unknown: Whether the answer was that no label fits.
        unknown_probability: 0..1.
        columns: Columns of ``truth`` in the list of labels.
        scores: (C,) float64, probability of each label.
        parts: Value of each part of what it shows, such as its verb.
        cells: Cells of the columns that slices are asked for.
    """

    path: Path
    start_s: float
    end_s: float
    group: str
    truth: tuple[str, ...]
    answer: str
    probability: float
    rank: int
    truth_probability: float
    unknown: bool
    unknown_probability: float
    columns: tuple[int, ...]
    scores: Float64 = field(repr=False, compare=False)
    parts: Mapping[str, str] = field(default_factory=dict[str, str])
    cells: Mapping[str, str] = field(default_factory=dict[str, str])

    @staticmethod
    def of(
        labels: Sequence[str],
        columns: Sequence[int],
        scores: Float64,
        unknown: tuple[float, bool],
        **facts: Any,
    ) -> EvaluatedClip:
        """A clip with its answer.

        Args:
            labels: C labels.
            columns: Columns of the labels that the clip shows.
            scores: (C,) float64, probability of each label.
            unknown: Probability that no label fits, and whether that is the answer.
            facts: ``path``, ``start_s``, ``end_s``, ``group``, ``parts`` and ``cells``.

        Raises:
            MetricError: the scores hold NaN.
        """
        shown, best = list(columns), int(scores.argmax())
        true_column = shown[int(scores[shown].argmax())]
        return EvaluatedClip(
            truth=tuple(labels[column] for column in shown),
            answer=labels[best],
            probability=float(scores[best]),
            rank=1 + int(ranks(scores[None], [true_column])[0]),
            truth_probability=float(scores[true_column]),
            unknown=unknown[1],
            unknown_probability=unknown[0],
            columns=tuple(shown),
            scores=scores,
            **facts,
        )

    @property
    def right(self) -> bool:
        """Whether the answered label is right."""
        return self.rank == 1

    def to_dict(self) -> JsonDict:
        """JSON object, and a row of the CSV file."""
        return {
            "path": str(self.path),
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "group": self.group,
            "label": "|".join(self.truth),
            "answer": self.answer,
            "right": self.right,
            "probability": round(self.probability, 6),
            "rank": self.rank,
            "label_probability": round(self.truth_probability, 6),
            "unknown": self.unknown,
            "unknown_probability": round(self.unknown_probability, 6),
        }


@dataclass(frozen=True)
class LabelFigures(Record):
    """One label of the list.

    Attributes:
        label: The label.
        n: Clips that show it.
        accuracy: Share of them that were recognised; None without clips. With ``mode="multi"``
            the share that gives it a probability of .5 or more.
        average_precision: Average precision of all clips ranked by this label; None without clips.
    """

    label: str
    n: int
    accuracy: float | None
    average_precision: float | None


@dataclass(frozen=True)
class Evaluation:
    """A model on N labelled clips and C labels; shares are 0..1.

    Attributes:
        model: Name of the model.
        source: The folder or table.
        mode: ``one`` label fits, or ``multi``.
        settings: What else moves the figures: fingerprint, templates, descriptions, version.
        labels: C labels.
        clips: N clips.
        failed: What could not be read; it does not count.
        probability: (N, C) float64.
        top1: Share of clips whose best label is right; that they are unknown does not count here.
        top5: Share of clips that show one of the best five labels.
        macro: Mean of ``per_label`` accuracy over the labels with clips.
        map: Mean of ``per_label`` average precision (label-to-clip mAP).
        unknown_rate: Share of clips that are called unknown.
        ece: Expected calibration error of the probability of the answer, in 15 bins; with
            ``mode="multi"`` of all pairs of clip and label.
        threshold: Keeps 95 % of the right answers; None where no answer is right.
        per_label: C rows.
        confusions: Wrong answers by falling count.
        reliability: Bins of stated probability.
        intervals: 95 % bootstrap intervals over groups; None where all clips are of one group.
        parts: Accuracy of each part of the labels (verb, object), where they have parts.
        micro_map: Average precision of all pairs of clip and label; with ``mode="multi"``.
        slices: ``top1`` of the clips of each value of the columns that were asked for.
    """

    model: str
    source: Path
    mode: str
    settings: Mapping[str, Any]
    labels: tuple[str, ...]
    clips: tuple[EvaluatedClip, ...]
    failed: tuple[Failure, ...]
    probability: Float64 = field(repr=False, compare=False)
    top1: float
    top5: float
    macro: float
    map: float
    unknown_rate: float
    ece: float
    threshold: Threshold | None
    per_label: tuple[LabelFigures, ...]
    confusions: tuple[Confusion, ...]
    reliability: tuple[ReliabilityBin, ...]
    intervals: Mapping[str, Interval | None]
    parts: Mapping[str, float] = field(default_factory=dict[str, float])
    micro_map: float | None = None
    slices: tuple[Figure, ...] = ()

    @property
    def n(self) -> int:
        """N, clips that were read and count."""
        return len(self.clips)

    @property
    def right_but_unknown(self) -> int:
        """Clips whose best label is right and that are called unknown all the same."""
        return sum(clip.right and clip.unknown for clip in self.clips)

    @property
    def groups(self) -> int:
        """Groups that the clips come from."""
        return len({clip.group for clip in self.clips})

    def figure(self, name: str) -> Figure:
        """An attribute that is a share, such as ``top1``, with its interval if it has one."""
        return with_interval(name, self.intervals.get(name), getattr(self, name), self.n)

    def worst(self, most: int = 12) -> list[EvaluatedClip]:
        """Wrong answers, the most probable first."""
        wrong = [clip for clip in self.clips if not clip.right]
        return sorted(wrong, key=lambda clip: (-clip.probability, str(clip.path)))[:most]

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        intervals = {name: row and [row.low, row.high] for name, row in self.intervals.items()}
        threshold = self.threshold if self.n >= FEWEST else None
        return {
            "model": self.model,
            "source": str(self.source),
            "mode": self.mode,
            "n": self.n,
            "groups": self.groups,
            "top1": self.top1,
            "top5": self.top5,
            "macro": self.macro,
            "map": self.map,
            **({} if self.micro_map is None else {"micro_map": self.micro_map}),
            **({"parts": dict(self.parts)} if self.parts else {}),
            **({"slices": [row.to_dict() for row in self.slices]} if self.slices else {}),
            "unknown_rate": self.unknown_rate,
            "right_but_unknown": self.right_but_unknown,
            "ece": self.ece,
            "threshold": threshold.value if threshold else None,
            "threshold_keeps": threshold.keeps if threshold else None,
            "threshold_drops": threshold.drops if threshold else None,
            "intervals": intervals,
            "labels": list(self.labels),
            "per_label": [row.to_dict() for row in self.per_label],
            "confusions": [row.to_dict() for row in self.confusions],
            "reliability": [row.to_dict() for row in self.reliability],
            "failed": [row.to_dict() for row in self.failed],
            "settings": dict(self.settings),
        }

    def write_csv(self, path: str | Path) -> None:
        """Write a row a clip; clips that could not be read have a reason in ``error``.

        Raises:
            UsageError: the file cannot be written.
        """
        rows = [{**clip.to_dict(), "error": ""} for clip in self.clips]
        rows += [{"path": str(row.path), "error": row.message} for row in self.failed]
        # Names of files may hold bytes that are not text.
        with (
            explained(UsageError, f"{path}: cannot be written", "check it"),
            Path(path).open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
        ):
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def summary(self) -> str:
        """A few lines for a person: the figures, what is confused, which threshold to take."""
        names = {"top1": "top-1", "top5": "top-5", "macro": "mean over labels", "map": "mAP"}
        figures = ", ".join(f"{name} {self._cell(key)}" for key, name in names.items())
        lines = [f"{self._counted()}: {figures}"]
        if self.parts:
            lines.append(", ".join(f"{name} {percent(v)}" for name, v in self.parts.items()))
        lines.append(
            f"called unknown: {percent(self.unknown_rate)}{self._right_but_unknown()}; "
            f"calibration error {self.ece:.2f}"
        )
        lines += [self.threshold_sentence(), self.confusion_sentence(), *self.remarks()]
        lines += map(slice_sentence, self.slices)
        return "\n".join(line for line in lines if line)

    def threshold_sentence(self) -> str:
        """Recommended threshold of the probability, in words; none from a few clips."""
        if self.threshold is None:
            return "no answer is right, so no threshold keeps right answers"
        if self.n < FEWEST:
            clips = "1 clip is" if self.n == 1 else f"{self.n} clips are"
            return f"{clips} too few for a threshold; give at least {FEWEST}"
        cut = self.threshold
        drops = "" if cut.drops is None else f" and drops {percent(cut.drops)} of the wrong ones"
        return (
            f"a threshold of {cut.value:.2f} on the probability keeps {percent(cut.keeps)} of "
            f"the right answers{drops}"
        )

    def confusion_sentence(self) -> str:
        """The confusions worth knowing, in words."""
        rows = worth_knowing(self.confusions)
        if rows:
            return "; ".join(row.sentence() for row in rows)
        return "no label is often taken for another" if self.confusions else "all answers are right"

    def _counted(self) -> str:
        clips = f"{self.n} clip{'' if self.n == 1 else 's'}"
        groups = "" if self.groups == self.n else f" from {self.groups} groups"
        shown = sum(row.n > 0 for row in self.per_label)
        return f"{clips} of {shown} label{'' if shown == 1 else 's'}{groups}"

    def _right_but_unknown(self) -> str:
        right = sum(clip.right for clip in self.clips)
        lost = self.right_but_unknown
        return f" ({lost} of {right} right answers were called unknown)" if lost else ""

    def _cell(self, name: str) -> str:
        if name == "map":
            return f"{self.map:.3f}"
        figure = self.figure(name)
        few = name in ("top1", "top5") and self.n < FEWEST
        return (f"{round(figure.value * self.n)} of {self.n}, " if few else "") + shown(figure)

    def remarks(self) -> list[str]:
        """Remarks that a reader of the figures must not miss."""
        remarks: list[str] = []
        empty = [row.label for row in self.per_label if not row.n]
        if empty:
            more = f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else ""
            named = ", ".join(empty[:_NAMED])
            remarks.append(f"without a clip, and not in any mean: {named}{more}")
        if self.settings.get("synthetic"):
            remarks.append(
                f"{self.settings['synthetic']} clips are synthetic: no accuracy is proven"
            )
        if self.groups == 1:
            remarks.append("all clips are of one group, so nothing can be said about others")
        if self.failed:
            count = len(self.failed)
            remarks.append(
                f"not counted: {count} clip{'' if count == 1 else 's'} could not be read"
            )
        return remarks


def confusion_matrix(result: Evaluation) -> tuple[list[str], list[list[int]]]:
    """Clips of each label (rows) by answer (columns), over the labels shown or answered."""
    pairs = [(label, clip.answer) for clip in result.clips for label in clip.truth]
    used = {name for pair in pairs for name in pair}
    names = [label for label in result.labels if label in used]
    column = {label: number for number, label in enumerate(names)}
    table = np.zeros((len(names), len(names)), np.int64)
    for label, answer in pairs:
        table[column[label], column[answer]] += 1
    return names, table.tolist()


def most_confused(names: list[str], table: list[list[int]], most: int) -> list[int]:
    """Places of the labels that take part in most wrong answers, in the order of the list."""
    counts = np.array(table)
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    return sorted(np.argsort(-wrong, kind="stable")[:most].tolist())


def shown(figure: Figure) -> str:
    """A figure for a sentence: ``34.6 % (30 to 40)``."""
    return figure.text(" %") + (f" ({figure.ends})" if figure.ends else "")


def slice_sentence(figure: Figure) -> str:
    """A slice as a line; one of few clips is marked."""
    few = f"; fewer than {FEWEST} clips tell little" if figure.n < FEWEST else ""
    return f"{figure.where['by']} = {figure.where['value']}: {shown(figure)} of {figure.n}{few}"


Bools = npt.NDArray[np.bool_]
_FITS = 0.5  # probability from which one of several labels counts as answered
_FIVE = 5


def evaluation_of(
    labels: Sequence[str],
    clips: Sequence[EvaluatedClip],
    failed: Sequence[Failure] = (),
    label_parts: Sequence[Mapping[str, str]] = (),
    *,
    model: str,
    source: Path,
    settings: Mapping[str, Any],
    mode: str = "one",
) -> Evaluation:
    """Every figure of N clips.

    Args:
        labels: C labels in the order of the columns.
        clips: N clips.
        failed: Clips that could not be read.
        label_parts: C parts of the labels; empty where they have none.
        model: See the attributes of ``Evaluation``, also for the others.
        source: The folder or table.
        settings: What else moves the figures.
        mode: ``one`` or ``multi``.

    Raises:
        MetricError: no clip, or NaN.
    """
    if not clips:
        raise MetricError(
            "no clip was scored, so no figure is defined; give clips that can be read"
        )
    probability = finite([clip.scores for clip in clips], "the probabilities", 2)
    member = np.zeros(probability.shape, np.bool_)
    for row, clip in enumerate(clips):
        member[row, list(clip.columns)] = True
    groups, rank = [clip.group for clip in clips], np.array([clip.rank for clip in clips])
    right, several = rank == 1, mode == "multi"
    stated = probability.ravel() if several else probability.max(axis=1)
    correct = member.ravel() if several else right
    hits = probability >= _FITS if several else np.repeat(right[:, None], len(labels), axis=1)
    label_rows = _per_label(labels, probability, member, hits)
    precision = [row.average_precision for row in label_rows if row.average_precision is not None]
    return Evaluation(
        model=model,
        source=source,
        mode=mode,
        settings=settings,
        labels=tuple(labels),
        clips=tuple(clips),
        failed=tuple(failed),
        probability=probability,
        top1=float(right.mean()),
        top5=float((rank <= _FIVE).mean()),
        macro=_macro(member, hits),
        map=float(np.mean(precision)),
        unknown_rate=float(np.mean([clip.unknown for clip in clips])),
        ece=expected_calibration_error(stated, correct),
        threshold=keeping_threshold(stated, correct),
        per_label=label_rows,
        confusions=tuple(_confusions(clips)),
        reliability=tuple(reliability(stated, correct)),
        intervals=_intervals(rank, member, hits, groups),
        parts=_part_accuracy(clips, label_parts),
        micro_map=multilabel_map(probability, member).micro if several else None,
        slices=tuple(slices(right, [clip.cells for clip in clips], groups)),
    )


def _per_label(
    labels: Sequence[str], probability: Float64, member: Bools, hits: Bools
) -> tuple[LabelFigures, ...]:
    rows: list[LabelFigures] = []
    for column, label in enumerate(labels):
        shows = member[:, column]
        accuracy = precision = None
        if shows.any():
            accuracy = float(hits[shows, column].mean())
            precision = average_precision(probability[:, column], shows)
        rows.append(LabelFigures(label, int(shows.sum()), accuracy, precision))
    return tuple(rows)


def _macro(member: Bools, hits: Bools) -> float:
    """Mean over the labels with clips of the share of them that are hits."""
    count = member.sum(axis=0)
    present = count > 0
    return float(((member & hits).sum(axis=0)[present] / count[present]).mean())


def _confusions(clips: Sequence[EvaluatedClip]) -> list[Confusion]:
    """A wrong answer counts for every label that the clip shows."""
    # Right clips count in "of", so they stay in the lists with their own label as the answer.
    pairs = [(label, label if c.right else c.answer) for c in clips for label in c.truth]
    return confusions([truth for truth, _ in pairs], [answer for _, answer in pairs])


def _intervals(
    rank: npt.NDArray[np.int64], member: Bools, hits: Bools, groups: Sequence[str]
) -> dict[str, Interval | None]:
    return {
        "top1": mean_interval(rank == 1, groups),
        "top5": mean_interval(rank <= _FIVE, groups),
        "macro": bootstrap(lambda rows: _macro(member[rows], hits[rows]), groups),
    }


def _part_accuracy(
    clips: Sequence[EvaluatedClip], label_parts: Sequence[Mapping[str, str]]
) -> dict[str, float]:
    """Share of clips whose answer has the right verb, the right object."""
    named = [label_parts[int(clip.scores.argmax())] for clip in clips] if label_parts else []
    return {
        name: float(np.mean([g.get(name) == c.parts.get(name) for g, c in zip(named, clips)]))  # noqa: B905
        for name in dict.fromkeys(name for parts in label_parts for name in parts)
    }

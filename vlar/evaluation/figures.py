"""From the scores of labelled clips to every figure of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import MetricError
from vlar.evaluation.calibration import (
    expected_calibration_error,
    keeping_threshold,
    reliability,
)
from vlar.evaluation.checks import finite
from vlar.evaluation.classification import Confusion, average_precision, confusions, ranks
from vlar.evaluation.intervals import Interval, bootstrap, mean_interval
from vlar.evaluation.multilabel import multilabel_map
from vlar.evaluation.result import EvaluatedClip, Evaluation, LabelFigures
from vlar.types import Failure, Float64, Window

Bools = npt.NDArray[np.bool_]
_FITS = 0.5  # probability from which one of several labels counts as answered
_FIVE = 5


@dataclass(frozen=True)
class ScoredClip:
    """A labelled clip with its scores.

    Attributes:
        path: The recording.
        window: The span.
        group: Its group.
        columns: Columns of the labels that it shows.
        probability: (C,) float64.
        unknown: Probability that no label fits.
        is_unknown: Whether that is the answer.
        parts: Value of each part of what it shows, such as its verb.
    """

    path: Path
    window: Window
    group: str
    columns: tuple[int, ...]
    probability: Float64
    unknown: float
    is_unknown: bool
    parts: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class About:
    """What an evaluation is of: see the attributes of ``Evaluation``."""

    model: str
    source: Path
    mode: str
    settings: Mapping[str, Any]


def evaluation_of(
    about: About,
    labels: Sequence[str],
    scored: Sequence[ScoredClip],
    failed: Sequence[Failure] = (),
    label_parts: Sequence[Mapping[str, str]] = (),
) -> Evaluation:
    """Every figure of N scored clips.

    Args:
        about: What is evaluated.
        labels: C labels in the order of the columns.
        scored: N clips.
        failed: Clips that could not be read.
        label_parts: C parts of the labels; empty where they have none.

    Raises:
        MetricError: no clip, or NaN.
    """
    if not scored:
        raise MetricError(
            "no clip was scored, so no figure is defined; give clips that can be read"
        )
    probability = finite([clip.probability for clip in scored], "the probabilities", 2)
    member = np.zeros(probability.shape, np.bool_)
    for row, clip in enumerate(scored):
        member[row, list(clip.columns)] = True
    groups = [clip.group for clip in scored]
    rank = _best_ranks(probability, member)
    clips = tuple(_clip(labels, *pair) for pair in zip(scored, rank.tolist(), strict=True))
    right = rank == 1
    several = about.mode == "multi"
    stated = probability.ravel() if several else probability.max(axis=1)
    correct = member.ravel() if several else right
    hits = probability >= _FITS if several else np.repeat(right[:, None], len(labels), axis=1)
    each = _per_label(labels, probability, member, hits)
    precision = [row.average_precision for row in each if row.average_precision is not None]
    return Evaluation(
        model=about.model,
        source=about.source,
        mode=about.mode,
        settings=about.settings,
        labels=tuple(labels),
        clips=clips,
        failed=tuple(failed),
        probability=probability,
        top1=float(right.mean()),
        top5=float((rank <= _FIVE).mean()),
        macro=_macro(member, hits),
        map=float(np.mean(precision)),
        unknown_rate=float(np.mean([clip.is_unknown for clip in scored])),
        ece=expected_calibration_error(stated, correct),
        threshold=keeping_threshold(stated, correct),
        per_label=each,
        confusions=tuple(_confusions(clips)),
        reliability=tuple(reliability(stated, correct)),
        intervals=_intervals(rank, member, hits, groups),
        parts=_part_accuracy(scored, probability.argmax(axis=1), label_parts),
        micro_map=multilabel_map(probability, member).micro if several else None,
    )


def _best_ranks(probability: Float64, member: Bools) -> npt.NDArray[np.int64]:
    """(N,) place of the best label that each clip shows, 1 for the first."""
    shown = np.where(member, probability, -1.0).argmax(axis=1)
    return 1 + ranks(probability, shown)


def _clip(labels: Sequence[str], clip: ScoredClip, rank: int) -> EvaluatedClip:
    best = int(clip.probability.argmax())
    return EvaluatedClip(
        path=clip.path,
        start_s=clip.window.start_s,
        end_s=clip.window.end_s,
        group=clip.group,
        truth=tuple(labels[column] for column in clip.columns),
        answer=labels[best],
        probability=float(clip.probability[best]),
        rank=rank,
        truth_probability=float(clip.probability[list(clip.columns)].max()),
        unknown=clip.is_unknown,
        unknown_probability=clip.unknown,
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
    there = count > 0
    return float(((member & hits).sum(axis=0)[there] / count[there]).mean())


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
    scored: Sequence[ScoredClip],
    answers: npt.NDArray[np.int64],
    label_parts: Sequence[Mapping[str, str]],
) -> dict[str, float]:
    """Share of clips whose answer has the right verb, the right object."""
    names = list(dict.fromkeys(name for parts in label_parts for name in parts))
    return {
        name: float(
            np.mean(
                [
                    label_parts[answer].get(name) == clip.parts.get(name)
                    for clip, answer in zip(scored, answers, strict=True)
                ]
            )
        )
        for name in names
    }

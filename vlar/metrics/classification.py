"""Accuracy of answers that name labels: top-k, macro, confusions, mAP, retrieval both ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import MetricError
from vlar.metrics.checks import Record, finite, flags_of, truth_of
from vlar.types import Float64

Counts = npt.NDArray[np.integer[Any]]
_OFTEN = 0.3  # of a label's clips


@dataclass(frozen=True)
class Confusion(Record):
    """A wrong answer that was given more than never.

    Attributes:
        truth: What the clips show.
        answer: What they were taken for.
        count: Clips.
        of: Clips that show ``truth``.
    """

    truth: str
    answer: str
    count: int
    of: int

    def sentence(self) -> str:
        """Return the confusion in words.

        >>> Confusion("pour", "clap", 4, 5).sentence()
        'pour is taken for clap, 4 of 5'
        """
        return f"{self.truth} is taken for {self.answer}, {self.count} of {self.of}"


@dataclass(frozen=True)
class GeneralisedScores(Record):
    """Generalised zero-shot accuracy: seen and unseen labels compete in one list.

    Attributes:
        seen: Mean accuracy over the seen labels, 0..1.
        unseen: The same over the unseen labels.
        harmonic_mean: ``2 seen unseen / (seen + unseen)``; 0 where one of them is 0.
    """

    seen: float
    unseen: float
    harmonic_mean: float


def ranks(scores: npt.ArrayLike, truth: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The place of each clip's right label, 0 for the first.

    Equal scores keep the order of the columns, as in the answers of ``classify``.

    Args:
        scores: (N, C) float, higher is better.
        truth: (N,) int, the column of the right label.

    Returns:
        (N,) int64 in 0..C-1.

    Raises:
        MetricError: nothing in it, NaN, or sizes that differ.
    """
    values = finite(scores, "the scores", 2)
    column = truth_of(truth, values)
    truth_scores = values[np.arange(len(values)), column][:, None]
    before = np.arange(values.shape[1])[None] < column[:, None]
    return ((values > truth_scores) | ((values == truth_scores) & before)).sum(axis=1)


def top_k(scores: npt.ArrayLike, truth: npt.ArrayLike, k: int = 1) -> float:
    """Share of clips whose right label is among the first k.

    Args:
        scores: (N, C) float.
        truth: (N,) int.
        k: 1 or more.

    Raises:
        MetricError: see ``ranks``.
    """
    return float((ranks(scores, truth) < k).mean())


def per_label(right: npt.ArrayLike, truth: npt.ArrayLike, n_labels: int) -> Float64:
    """Accuracy of each label.

    Args:
        right: (N,) bool, whether the answer is right.
        truth: (N,) int, the column of the right label.
        n_labels: C.

    Returns:
        (C,) float64 in 0..1; NaN for a label without clips.
    """
    column = truth_of(truth, np.zeros((len(np.asarray(truth)), n_labels)))
    correct = flags_of(right, column.shape, "the right answers")
    count = np.bincount(column, minlength=n_labels)
    hits = np.bincount(column, weights=correct, minlength=n_labels)
    return np.where(count > 0, hits / np.maximum(count, 1), np.nan)


def macro_accuracy(right: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Mean over labels of the share of their clips that are right (balanced accuracy).

    Labels without clips do not count.

    Args:
        right: (N,) bool.
        truth: (N,) int.

    Raises:
        MetricError: no clip, or sizes that differ.
    """
    column = np.asarray(truth)
    if not column.size:
        raise MetricError("no clip to take the accuracy of; give at least one")
    return float(np.nanmean(per_label(right, column, int(column.max()) + 1)))


def average_precision(scores: npt.ArrayLike, relevant: npt.ArrayLike) -> float:
    """Average precision of one ranking; tests compare it with that of scikit-learn.

    The sum over ranks of the steps of recall times the precision there, not interpolated. Rows of
    equal score share a rank.

    Args:
        scores: (N,) float, higher comes first.
        relevant: (N,) bool.

    Raises:
        MetricError: nothing is relevant, NaN, or sizes that differ.
    """
    values = finite(scores, "the scores", 1)
    flags = flags_of(relevant, values.shape, "the relevant rows")
    if not flags.any():
        raise MetricError("no row is relevant, so average precision is not defined; leave it out")
    false, true = counts_above(values, flags)
    steps = np.diff(true / true[-1], prepend=0.0)
    return float((steps * true / (true + false))[::-1].sum())


def counts_above(scores: Float64, flags: npt.NDArray[np.bool_]) -> tuple[Counts, Counts]:
    """Rows at or above each distinct score, from the highest: those without the flag, and with it.

    Args:
        scores: (N,).
        flags: (N,).
    """
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    true = np.cumsum(flags[order], dtype=np.int64)[last]
    return last + 1 - true, true


def confusions(truth: Sequence[str], answers: Sequence[str]) -> list[Confusion]:
    """The wrong answers by falling count, then by name.

    Raises:
        MetricError: lengths that differ.
    """
    if len(truth) != len(answers):
        raise MetricError(f"{len(truth)} right labels for {len(answers)} answers; give one each")
    of = Counter(truth)
    wrong = Counter((t, a) for t, a in zip(truth, answers, strict=True) if t != a)
    ordered = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))
    return [Confusion(t, a, count, of[t]) for (t, a), count in ordered]


def worth_knowing(rows: Sequence[Confusion]) -> list[Confusion]:
    """The three confusions that stand out: twice or more, and 30 % or more of a label's clips."""
    often = [row for row in rows if row.count > 1 and row.count >= _OFTEN * row.of]
    return often[:3]


def harmonic_mean(first: float, second: float) -> float:
    """``2ab / (a + b)`` of two shares; 0 where one of them is 0.

    >>> harmonic_mean(0.6, 0.3)
    0.4
    """
    low, high = float(first), float(second)
    if not (0 <= low < float("inf") and 0 <= high < float("inf")):
        raise MetricError(f"the harmonic mean of {first} and {second} is not defined")
    return 0.0 if low == 0 or high == 0 else 2 * low * high / (low + high)


def generalised_zero_shot(
    scores: npt.ArrayLike, truth: npt.ArrayLike, seen: npt.ArrayLike
) -> GeneralisedScores:
    """Seen and unseen labels in one list (Xian et al., "Zero-shot learning: a comprehensive
    evaluation", 2018, equation 14): mean accuracy over labels on each side, harmonic mean.

    Args:
        scores: (N, C) float over all labels.
        truth: (N,) int.
        seen: (C,) bool, whether training has shown the label.

    Raises:
        MetricError: one side has no clip, or see ``ranks``.
    """
    values = finite(scores, "the scores", 2)
    column = truth_of(truth, values)
    is_seen = flags_of(seen, (values.shape[1],), "the seen labels")[column]
    if is_seen.all() or not is_seen.any():
        side = "unseen" if is_seen.all() else "seen"
        raise MetricError(f"no clip shows {side} labels; the harmonic mean needs clips of both")
    right = ranks(values, column) == 0
    first = macro_accuracy(right[is_seen], column[is_seen])
    second = macro_accuracy(right[~is_seen], column[~is_seen])
    return GeneralisedScores(first, second, harmonic_mean(first, second))


@dataclass(frozen=True)
class MultiLabelScores(Record):
    """Average precision over labels and over pairs of clip and label.

    Attributes:
        macro: Mean of the average precision of the labels that a clip shows, 0..1.
        micro: Average precision of all pairs of clip and label in one ranking.
        per_label: C values; None for a label that no clip shows.
    """

    macro: float
    micro: float
    per_label: tuple[float | None, ...]


def multilabel_map(scores: npt.ArrayLike, truth: npt.ArrayLike) -> MultiLabelScores:
    """Macro and micro mAP (``sklearn.metrics.average_precision_score``).

    Labels that no clip shows are left out of the macro mean, and stand as None.

    Args:
        scores: (N, C) float, higher is better.
        truth: (N, C) bool, whether the clip shows the label.

    Raises:
        MetricError: no clip shows any label, NaN, or sizes that differ.
    """
    values = finite(scores, "the scores", 2)
    flags = flags_of(truth, values.shape, "the right labels")
    if not flags.any():
        raise MetricError("no clip shows any of the labels; average precision is not defined")
    precisions = [
        average_precision(values[:, c], flags[:, c]) if flags[:, c].any() else None
        for c in range(values.shape[1])
    ]
    macro = float(np.mean([value for value in precisions if value is not None]))
    return MultiLabelScores(
        macro, average_precision(values.ravel(), flags.ravel()), tuple(precisions)
    )


KS = (1, 5, 10)


def retrieval(
    scores: npt.ArrayLike, relevant: npt.ArrayLike, *, ks: Sequence[int] = KS
) -> dict[str, float]:
    """Retrieval figures of queries.

    The rank of a query is that of its best relevant row. A wrong row of equal score comes first, so
    that equal scores earn nothing.

    Args:
        scores: (Q, N) float, higher is better.
        relevant: (Q, N) bool.
        ks: The k of ``R@k``.

    Returns:
        ``R@k`` for each k: the share of queries with a relevant row among the first k; ``mAP``;
        ``median_rank``, 1 for the best.

    Raises:
        MetricError: a query without a relevant row, NaN, or sizes that differ.
    """
    values = finite(scores, "the scores", 2)
    flags = flags_of(relevant, values.shape, "the relevant rows")
    empty = np.flatnonzero(~flags.any(axis=1))
    if len(empty):
        raise MetricError(f"query {empty[0]} has no relevant row; leave it out and name it")
    best = np.where(flags, values, -np.inf).max(axis=1)
    rank = 1 + (~flags & (values >= best[:, None])).sum(axis=1)
    precision = [
        average_precision(row, is_relevant) for row, is_relevant in zip(values, flags, strict=True)
    ]
    return {
        **{f"R@{k}": float((rank <= k).mean()) for k in ks},
        "mAP": float(np.mean(precision)),
        "median_rank": float(np.median(rank)),
    }


def retrieval_both_ways(
    scores: npt.ArrayLike, relevant: npt.ArrayLike, *, ks: Sequence[int] = KS
) -> dict[str, dict[str, float]]:
    """Texts that find clips, and clips that find texts; see ``retrieval``.

    Args:
        scores: (Q, N) float of Q texts and N clips.
        relevant: (Q, N) bool.
        ks: The k of ``R@k``.

    Returns:
        The figures of ``text_to_video`` and ``video_to_text``.
    """
    values, flags = np.asarray(scores), np.asarray(relevant)
    return {
        "text_to_video": retrieval(values, flags, ks=ks),
        "video_to_text": retrieval(values.T, flags.T, ks=ks),
    }

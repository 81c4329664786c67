"""Retrieval both ways: recall at k, mean average precision, median rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlar.errors import MetricError
from vlar.metrics.checks import finite, flags_of
from vlar.metrics.classification import average_precision
from vlar.types import JsonDict


@dataclass(frozen=True)
class MultiLabelScores:
    """Average precision over labels and over pairs of clip and label.

    Attributes:
        macro: Mean of the average precision of the labels that a clip shows, 0..1.
        micro: Average precision of all pairs of clip and label in one ranking.
        per_label: C values; None for a label that no clip shows.
    """

    macro: float
    micro: float
    per_label: tuple[float | None, ...]

    def to_dict(self) -> JsonDict:
        """JSON object."""
        return {"macro": self.macro, "micro": self.micro, "per_label": list(self.per_label)}


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
    each = [
        average_precision(values[:, c], flags[:, c]) if flags[:, c].any() else None
        for c in range(values.shape[1])
    ]
    macro = float(np.mean([value for value in each if value is not None]))
    return MultiLabelScores(macro, average_precision(values.ravel(), flags.ravel()), tuple(each))


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
    precision = [average_precision(row, own) for row, own in zip(values, flags, strict=True)]
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

"""Calibration metrics: calibration error, reliability, thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlar.errors import MetricError
from vlar.metrics.checks import Record, finite, flags_of

BINS = 15  # as Guo et al. use


@dataclass(frozen=True)
class ReliabilityBin(Record):
    """Answers whose probability lies in one bin.

    Attributes:
        low: Lower edge of the bin; it belongs to it.
        high: Upper edge.
        count: Answers.
        stated: Their mean probability.
        right: The share of them that are right.
    """

    low: float
    high: float
    count: int
    stated: float
    right: float


@dataclass(frozen=True)
class Threshold(Record):
    """A probability below which answers are dropped.

    Attributes:
        value: Answers of this probability or more are kept.
        keeps: The share of right answers that it keeps.
        drops: The share of wrong answers that it drops; None where none is wrong.
    """

    value: float
    keeps: float
    drops: float | None


def expected_calibration_error(
    probability: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = BINS
) -> float:
    """Mean gap between stated probability and share of right answers, weighted by bin size.

    Source: Guo et al., "On calibration of modern neural networks", 2017, equation 3.

    Args:
        probability: (n,) float in 0..1, of the answers given.
        correct: (n,) bool, whether the answer was right.
        bins: Number of bins of equal width.

    Returns:
        0 (perfect) to 1; 0 for no row.

    Raises:
        MetricError: a probability outside 0..1 or NaN, or sizes that differ.
    """
    rows = reliability(probability, correct, bins=bins)
    total = sum(row.count for row in rows)
    return sum(row.count / total * abs(row.stated - row.right) for row in rows)


def reliability(
    probability: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = BINS
) -> list[ReliabilityBin]:
    """The bins of a reliability diagram that hold an answer, in rising order.

    Args:
        probability: (n,) float in 0..1.
        correct: (n,) bool.
        bins: Number of bins of equal width; 1 belongs to the last.

    Raises:
        MetricError: a probability outside 0..1 or NaN, or sizes that differ.
    """
    if not np.size(probability) and not np.size(correct):
        return []
    stated = finite(probability, "the probabilities", 1)
    outside = stated[(stated < 0) | (stated > 1)]
    if len(outside):
        raise MetricError(f"{outside[0]:g} is not a probability; give values in 0..1")
    right = flags_of(correct, stated.shape, "the right answers")
    which = np.minimum((stated * bins).astype(np.int64), bins - 1)
    rows: list[ReliabilityBin] = []
    for number in np.unique(which):
        inside = which == number
        rows.append(
            ReliabilityBin(
                float(number / bins),
                float((number + 1) / bins),
                int(inside.sum()),
                float(stated[inside].mean()),
                float(right[inside].mean()),
            )
        )
    return rows


def keeping_threshold(
    probability: npt.ArrayLike, correct: npt.ArrayLike, keep: float = 0.95
) -> Threshold | None:
    """The highest threshold that keeps a share of the right answers, and what it drops.

    Args:
        probability: (n,) float, of the answers given.
        correct: (n,) bool, whether the answer was right.
        keep: The least share of right answers to keep, above 0 and up to 1.

    Returns:
        The threshold; None where no answer is right.

    Raises:
        MetricError: NaN, sizes that differ, or a share outside 0..1.
    """
    if not 0 < keep <= 1:
        raise MetricError(f"a threshold cannot keep a share of {keep:g}; give one above 0, up to 1")
    stated = finite(probability, "the probabilities", 1)
    right = flags_of(correct, stated.shape, "the right answers")
    good, wrong = np.sort(stated[right])[::-1], stated[~right]
    if not len(good):
        return None
    # The small share keeps a product such as 0.95 * 20 from rounding up to 20.
    value = good[int(np.ceil(keep * len(good) - 1e-9)) - 1]
    drops = float((wrong < value).mean()) if len(wrong) else None
    return Threshold(float(value), float((good >= value).mean()), drops)

"""Measures of answers with a start and an end, for ``composed.py``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ranked import average_precision as ranked_precision

from vlar.metrics import spans
from vlar.metrics.intervals import paired

Span = tuple[str, float, float]  # file, start and end in seconds


def average_precision(
    answers: Sequence[Span], true: Sequence[Span], fit: Callable[[Span, Span], float]
) -> float:
    """Average precision of ranked spans; right fits by 0.5 a true span without a better answer."""
    free, right, total = list(true), 0, 0.0
    for rank, answer in enumerate(answers, 1):
        best = max(free, key=lambda t, answer=answer: fit(answer, t), default=None)
        if best is not None and fit(answer, best) >= 0.5:
            free.remove(best)
            right += 1
            total += right / rank
    return total / len(true)


def window_precision(answers: Sequence[Span], true: Sequence[Span]) -> float:
    """Precision of all windows, ranked; right is one whose middle lies in a true span."""
    right = np.array([in_middle(answer, true) for answer in answers], np.bool_)
    ranked = -np.arange(len(right), dtype=np.float64)
    return ranked_precision(ranked, right) if right.any() else 0.0


def in_middle(window: Span, true: Sequence[Span]) -> bool:
    """Return whether the middle of a window lies in a true span."""
    middle_s = (window[1] + window[2]) / 2.0
    return any(t[0] == window[0] and t[1] <= middle_s < t[2] for t in true)


def shared_s(one: Span, other: Span) -> float:
    """Seconds that two spans share."""
    if one[0] != other[0]:
        return 0.0
    return max(0.0, min(one[2], other[2]) - max(one[1], other[1]))


def tiou(one: Span, other: Span) -> float:
    """Shared time by joint time."""
    return float(spans.overlap([one[1:]], [other[1:]])[0, 0]) if one[0] == other[0] else 0.0


def inside(answer: Span, true: Span) -> float:
    """Share of an answer that lies in a true span."""
    return shared_s(answer, true) / max(answer[2] - answer[1], 1e-9)


def overlap(answers: Sequence[Span], true: Sequence[Span]) -> float:
    """Mean tIoU of the first answers, as many as true spans, with the nearest of these."""
    first = answers[: len(true)]
    return sum(max(tiou(answer, t) for t in true) for answer in first) / len(true)


def gains(rows: dict[str, list[float]]) -> dict[str, list[float]]:
    """Bootstrap interval, over queries in pairs, of what the query gains on each other way."""
    ours, found = rows["query"], dict[str, list[float]]()
    for way, values in rows.items():
        if way != "query" and (compared := paired(ours, values, range(len(ours)), draws=4000)):
            ends = compared.difference.low, compared.difference.high
            found[way] = [round(end, 4) for end in ends]
    return found


def mean(values: Sequence[float]) -> float:
    """Mean of at least one value."""
    return float(np.mean(values))

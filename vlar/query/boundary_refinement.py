"""Where a span begins and ends: between two windows, where the score crosses half of its best.

A window is scored by all it shows. Where an event begins at ``a``, windows whose middle lies before
``a`` are filled by it less than half, later ones more: along the middles of the windows the score
crosses half of its height at ``a``, however long the windows are. The union of all windows above
half therefore reaches too far, by up to half a window at either end. So each end of a merged span
is moved inwards to the crossing, interpolated between the last window that answers and the next
one. An end with no window behind it stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from vlar.query.temporal_merge import SHARE_OF_BEST, Match

_TOUCH_S = 1e-6


def refined(
    span: Match, first: Match, last: Match, before: Iterable[Match], after: Iterable[Match]
) -> Match:
    """A merged span with the times of its crossings.

    Args:
        span: As merged.
        first: The window it was grown from backwards.
        last: The window it was grown from onwards; for a single best window both are that.
        before: Windows before ``first``, nearest first.
        after: Windows after ``last``, nearest first.
    """
    start_s = _crossing(first, before)
    end_s = _crossing(last, after)
    start_s = span.start_s if start_s is None else min(max(start_s, span.start_s), span.end_s)
    end_s = span.end_s if end_s is None else max(min(end_s, span.end_s), span.start_s)
    # Two crossings that pass each other tell nothing: the event is shorter than a window.
    return replace(span, start_s=start_s, end_s=end_s) if start_s < end_s else span


def _crossing(inner: Match, outwards: Iterable[Match]) -> float | None:
    level = SHARE_OF_BEST * inner.probability
    for row in outwards:
        apart_s = max(row.start_s - inner.end_s, inner.start_s - row.end_s)
        if apart_s > _TOUCH_S:
            return None
        if row.probability < level:
            share = (inner.probability - level) / (inner.probability - row.probability)
            return _middle_s(inner) + share * (_middle_s(row) - _middle_s(inner))
        inner = row
    return None


def _middle_s(row: Match) -> float:
    return (row.start_s + row.end_s) / 2.0

"""Merge rows into spans: windows of one video that answer together are one answer.

A span of time is one answer, whomever its rows show: the best row begins it, and it grows over rows
of the same track (the whole frame, or one person).

The rule. Rows are taken best first. A row that no earlier span covers begins a span and gives it
its scores: the best window represents the span. The span grows to both sides, window by window,
over the video's next windows, as long as they overlap or touch it and score at least half as high
as its best one. A row that shares half or more of its own time with an earlier span, or was merged
into one, is not another answer. A span depends on the rows alone, not on how many were fetched, so
a longer answer begins with the shorter one, as long as both have the same candidates.

Boundaries. A window is scored by all it shows. Where an event begins at ``a``, windows whose middle
lies before ``a`` are filled by it less than half, later ones more: along the middles of the windows
the score crosses half of its height at ``a``, however long the windows are. The union of all
windows above half therefore reaches too far, by up to half a window at either end. So ``refined``
moves each end of a span inwards to the crossing, interpolated between the last window that answers
and the next one. An end with no window behind it stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

SHARE_OF_BEST = 0.5  # of the best window's score: below it a window answers less than more
_SHARED_TIME = 0.5
_TOUCH_S = 1e-6


@dataclass(frozen=True)
class ScoredSpan:
    """A row, or a span of rows, with its score.

    Attributes:
        row_id: The row, or the candidate's number.
        video_id: Its video.
        start_s: Seconds.
        end_s: Seconds.
        score: 0 to 1; it ranks, and decides how far a span grows.
        similarity: Cosine of its best window; 0 where a query has several parts.
        track: Whom its best window shows: a person of the video, or 0 for the whole frame.
    """

    row_id: int
    video_id: int
    start_s: float
    end_s: float
    score: float
    similarity: float = 0.0
    track: int = 0


# The rows of a span's video after it (later=True) or before it, nearest first, all as long as it
# and of its track.
Neighbours = Callable[[ScoredSpan, bool], Iterator[ScoredSpan]]


def merge(rows: Iterable[ScoredSpan], neighbours: Neighbours, k: int) -> list[ScoredSpan]:
    """The first ``k`` spans of rows that come best first."""
    spans: list[ScoredSpan] = []
    by_video: dict[int, list[ScoredSpan]] = {}
    for row in rows:
        earlier = by_video.setdefault(row.video_id, [])
        if _covered(row, earlier):
            continue
        span = _grown(_grown(row, row, neighbours, earlier, True), row, neighbours, earlier, False)
        earlier.append(span)
        spans.append(span)
        if len(spans) == k:
            break
    return spans


def same_scale(row: ScoredSpan, other: ScoredSpan) -> bool:
    """Return whether two windows of a video are equally long, as all of one scale are."""
    length_s = other.end_s - other.start_s
    return abs(row.end_s - row.start_s - length_s) <= 0.01 * length_s


def refined(
    span: ScoredSpan,
    first: ScoredSpan,
    last: ScoredSpan,
    before: Iterable[ScoredSpan],
    after: Iterable[ScoredSpan],
) -> ScoredSpan:
    """A merged span with its ends at the crossings.

    Args:
        span: As merged.
        first: The window it was grown from backwards.
        last: The window it was grown from forwards; for a single best window both are the same.
        before: Windows before ``first``, nearest first.
        after: Windows after ``last``, nearest first.
    """
    start_s = _crossing(first, before)
    end_s = _crossing(last, after)
    start_s = span.start_s if start_s is None else min(max(start_s, span.start_s), span.end_s)
    end_s = span.end_s if end_s is None else max(min(end_s, span.end_s), span.start_s)
    # Crossings that pass each other are not usable: the event is shorter than a window.
    return replace(span, start_s=start_s, end_s=end_s) if start_s < end_s else span


def _grown(
    span: ScoredSpan,
    best: ScoredSpan,
    neighbours: Neighbours,
    earlier: list[ScoredSpan],
    later: bool,
) -> ScoredSpan:
    start_s, end_s, least = span.start_s, span.end_s, SHARE_OF_BEST * best.score
    for row in neighbours(best, later):
        apart = row.start_s > end_s + _TOUCH_S or row.end_s < start_s - _TOUCH_S
        if apart or _covered(row, earlier) or row.score < least:
            break
        start_s, end_s = min(start_s, row.start_s), max(end_s, row.end_s)
    return replace(span, start_s=start_s, end_s=end_s)


def _covered(row: ScoredSpan, spans: list[ScoredSpan]) -> bool:
    for span in spans:
        shared_s = min(row.end_s, span.end_s) - max(row.start_s, span.start_s)
        if shared_s >= 0 and shared_s >= _SHARED_TIME * (row.end_s - row.start_s):
            return True
    return False


def _crossing(inner: ScoredSpan, outwards: Iterable[ScoredSpan]) -> float | None:
    level = SHARE_OF_BEST * inner.score
    for row in outwards:
        apart_s = max(row.start_s - inner.end_s, inner.start_s - row.end_s)
        if apart_s > _TOUCH_S:
            return None
        if row.score < level:
            share = (inner.score - level) / (inner.score - row.score)
            return _middle_s(inner) + share * (_middle_s(row) - _middle_s(inner))
        inner = row
    return None


def _middle_s(row: ScoredSpan) -> float:
    return (row.start_s + row.end_s) / 2.0

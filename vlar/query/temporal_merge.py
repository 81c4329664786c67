"""Rows to spans: windows of one video that answer together become one answer.

The rule. Rows are taken best first: by falling similarity, or as ``vlar.query.rerank`` put them.
A row that no earlier span holds begins a span and gives it its scores (the best window speaks for
the span). The span grows to both sides, window by window, over the video's next windows as long as
they overlap or touch it and are at least half as probable as its best one. A row that shares half
or more of its own time with an earlier span, or was taken into one, is not another answer. What a
span is depends on the rows alone, not on how many were fetched, so a longer answer begins with the
shorter one (where rows are looked at again: as long as it is the same rows).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

SHARE_OF_BEST = 0.5  # of the best window's probability: below it a window answers less than more
_SHARED_TIME = 0.5
_TOUCH_S = 1e-6


@dataclass(frozen=True)
class Match:
    """A row, or a span of rows, and how well it answers."""

    row_id: int
    video_id: int
    start_s: float
    end_s: float
    similarity: float
    probability: float


# The rows of a match's video after it (later=True) or before it, nearest first, all as long as it.
Neighbours = Callable[[Match, bool], Iterator[Match]]


def merge(rows: Iterable[Match], neighbours: Neighbours, k: int) -> list[Match]:
    """The first ``k`` spans of rows that come best first."""
    spans: list[Match] = []
    by_video: dict[int, list[Match]] = {}
    for row in rows:
        earlier = by_video.setdefault(row.video_id, [])
        if _taken(row, earlier):
            continue
        span = _grown(_grown(row, row, neighbours, earlier, True), row, neighbours, earlier, False)
        earlier.append(span)
        spans.append(span)
        if len(spans) == k:
            break
    return spans


def same_scale(row: Match, other: Match) -> bool:
    """Whether two windows of a video are equally long, as all of one scale are."""
    length_s = other.end_s - other.start_s
    return abs(row.end_s - row.start_s - length_s) <= 0.01 * length_s


def _grown(
    span: Match, best: Match, neighbours: Neighbours, earlier: list[Match], later: bool
) -> Match:
    for row in neighbours(best, later):
        apart = row.start_s > span.end_s + _TOUCH_S or row.end_s < span.start_s - _TOUCH_S
        if apart or _taken(row, earlier) or row.probability < SHARE_OF_BEST * best.probability:
            break
        span = replace(
            span,
            start_s=min(span.start_s, row.start_s),
            end_s=max(span.end_s, row.end_s),
        )
    return span


def _taken(row: Match, spans: list[Match]) -> bool:
    for span in spans:
        shared_s = min(row.end_s, span.end_s) - max(row.start_s, span.start_s)
        if shared_s >= 0 and shared_s >= _SHARED_TIME * (row.end_s - row.start_s):
            return True
    return False

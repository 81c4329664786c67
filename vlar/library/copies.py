"""Recordings that show the same: copies, and clips that lie inside other recordings.

A copy has windows of a cosine of ``SAME`` with those of its original. A clip that was cut into
another recording has not: the windows there begin at other seconds, and those at its edges show
its neighbours too. It is found by its lag. At one lag its windows resemble what lies between the
windows of the other recording, and so much more than a third recording of the library does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vlar.cancellation import check
from vlar.library.rows import Int64, RowTable
from vlar.types import Float32, Float64

# Cosine of two windows that show the same. Below it, different clips of one place are joined in
# hundreds (evals/results/discovery.json).
SAME = 0.99
_MATCHED = 0.5  # of the windows of the shorter recording
_BLOCK = 1024  # rows of each side that are compared at once
_BLOCK_FIGURES = 1 << 24  # rows of a block times recordings

# Of clips inside others (evals/results/pastes.json).
INSIDE = 0.9  # least mean cosine of a clip's windows with another recording, at one lag
RIVAL = 0.2  # greatest distance to it, over the distance to a third recording
_THIRD = 3  # recordings but these two, from which the third is counted: others may hold it too
_ALONE = 0.85  # cosine of a third recording where there is none
_NEAREST = 6  # recordings that are looked at, of those most similar to each window
_TRIED = 3  # recordings in which a clip is looked for
_STEPS = 4  # lags within the stride of windows
_LAGS = 4096  # that are tried at once
_MOST_WINDOWS = 64  # of a clip; of more, 64 are taken evenly


@dataclass(frozen=True)
class Matched:
    """One recording of a group.

    Attributes:
        video_id: The recording.
        similarity: Mean cosine of its matched windows with those that they match best.
        start_s: Where its first matched window begins.
        end_s: Where its last matched window ends.
    """

    video_id: int
    similarity: float
    start_s: float
    end_s: float


class _Span(NamedTuple):
    """A part of a recording that another one shows: its cosine, and its seconds."""

    cosine: float
    start_s: float
    end_s: float


@dataclass(frozen=True)
class _Rows:
    """Windows by recording: R recordings, N rows in their order.

    Attributes:
        table: N windows.
        vectors: (N, D) of unit length.
        ids: (R,) recordings, rising.
        owners: (N,) places of recordings, rising.
        borders: (R + 1,) first row of each, and N.
    """

    table: RowTable
    vectors: Float32
    ids: Int64
    owners: Int64
    borders: Int64

    @classmethod
    def of(cls, table: RowTable, vectors: Float32) -> _Rows:
        order = np.argsort(table.video_ids, kind="stable")
        table = table.where(order)
        ids, firsts, owners = np.unique(table.video_ids, return_index=True, return_inverse=True)
        return cls(table, vectors[order], ids, owners, np.append(firsts, len(table)))

    def count(self, number: int) -> int:
        return int(self.borders[number + 1] - self.borders[number])

    def span(self, row: int, cosine: float) -> _Span:
        return _Span(cosine, float(self.table.starts_s[row]), float(self.table.ends_s[row]))

    def aligned(self, number: int, most: int | None = None) -> tuple[Int64, Float64]:
        """Rows (M,) of windows of the usual length, by time, and their starts (M,), rising."""
        rows = np.arange(self.borders[number], self.borders[number + 1])
        lengths = (self.table.ends_s - self.table.starts_s)[rows]
        rows = rows[lengths <= 1.5 * np.median(lengths)]
        starts_s, firsts = np.unique(self.table.starts_s[rows], return_index=True)
        if most is not None and len(firsts) > most:
            evenly = np.linspace(0, len(firsts) - 1, most).astype(np.int64)
            starts_s, firsts = starts_s[evenly], firsts[evenly]
        return rows[firsts], starts_s


Evidence = dict[int, dict[int, _Span]]  # parts of each place, by row, or by a number below 0


def groups(table: RowTable, vectors: Float32, least: float | None = None) -> list[list[Matched]]:
    """Groups of recordings that show the same, largest first; the oldest of each comes first.

    Two recordings are near-duplicates where at least half of the windows of the one with fewer
    windows have a cosine of at least ``least`` with a window of the other.

    Args:
        table: N windows.
        vectors: (N, D) of unit length.
        least: Cosine of windows of copies; None is ``SAME``, and recordings that hold a clip join
            its group. One that holds several clips is in several groups.
    """
    rows = _Rows.of(table, vectors)
    similar, cosines, nearest = _compared(rows, least or SAME)
    parts: Evidence = defaultdict(dict)
    links: list[tuple[int, int]] = []
    for (a, b), cosine_of in similar.items():
        shorter = a if rows.count(a) <= rows.count(b) else b
        matched = sum(int(rows.owners[row]) == shorter for row in cosine_of)
        if matched < _MATCHED * rows.count(shorter):
            continue
        links.append((a, b))
        for row, cosine in cosine_of.items():
            side = parts[int(rows.owners[row])]
            side[row] = max(rows.span(row, cosine), side.get(row, _Span(-1.0, 0, 0)))
    merged = {group[0]: ({p: parts[p] for p in group}, group) for group in _joined(links)}
    first = {number: group[0] for _, group in merged.values() for number in group}
    if least is None:
        for clip, host, part, span in _held(rows, cosines, nearest, first):
            shown, group = merged.setdefault(first.get(clip, clip), ({clip: {}}, [clip]))
            shown[clip] = {**shown[clip], -1 - host: part}
            shown.setdefault(host, {})[-1 - clip] = span
            group.append(host)
    listed = [[_matched(rows, p, shown[p]) for p in sorted(shown)] for shown, _ in merged.values()]
    return sorted(listed, key=lambda group: (-len(group), group[0].video_id))


def _compared(
    rows: _Rows, least: float
) -> tuple[dict[tuple[int, int], dict[int, float]], Float32, Int64]:
    """All rows against all recordings, block by block.

    Returns:
        For each two places, rows of both with a window of the other at ``least`` or above, and
        their cosines; cosines (N, K) and places (N, K) of the recordings most similar to each row.
    """
    similar: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
    k = min(_NEAREST, len(rows.ids))
    cosines = np.empty((len(rows.owners), k), np.float32)
    nearest = np.empty((len(rows.owners), k), np.int64)
    for start, best in _greatest(rows):
        for row, other in np.argwhere(best >= least).tolist():
            owner = int(rows.owners[start + row])
            pair = min(owner, other), max(owner, other)
            similar[pair][start + row] = float(best[row, other])
        chosen = np.argpartition(best, -k, axis=1)[:, -k:]
        values = np.take_along_axis(best, chosen, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        block = slice(start, start + len(best))
        cosines[block] = np.take_along_axis(values, order, axis=1)
        nearest[block] = np.take_along_axis(chosen, order, axis=1)
    return similar, cosines, nearest


def _greatest(rows: _Rows) -> Iterator[tuple[int, Float32]]:
    """First row of a block, and (B, R) the greatest cosine of each with each recording.

    That with the own recording is -1.
    """
    count, firsts = len(rows.owners), rows.borders[:-1]
    step = max(1, min(_BLOCK, _BLOCK_FIGURES // len(firsts)))
    for start in range(0, count, step):
        some = rows.vectors[start : start + step]
        best = np.full((len(some), len(firsts)), -1.0, np.float32)
        for first in range(0, count, _BLOCK):
            check()
            products = some @ rows.vectors[first : first + _BLOCK].T
            places = slice(
                int(rows.owners[first]), int(rows.owners[first + products.shape[1] - 1]) + 1
            )
            edges = np.maximum(firsts[places] - first, 0)
            greatest = np.maximum.reduceat(products, edges, axis=1)
            np.maximum(best[:, places], greatest, out=best[:, places])
        best[np.arange(len(some)), rows.owners[start : start + step]] = -1.0
        yield start, best


def _held(
    rows: _Rows, cosines: Float32, nearest: Int64, first: dict[int, int]
) -> Iterator[tuple[int, int, _Span, _Span]]:
    """Clips and the recordings that hold them, with the part of each.

    Args:
        rows: All rows.
        cosines: (N, K) of the recordings most similar to each row.
        nearest: (N, K) places of these.
        first: First of its copies, for each place that has some.
    """
    starts_s, ends_s = rows.table.starts_s, rows.table.ends_s
    for clip in range(len(rows.ids)):
        clip_rows, times_s = rows.aligned(clip, _MOST_WINDOWS)
        for host in _hosts(rows, clip_rows, cosines, nearest, clip):
            lag = _at_one_lag(rows, clip_rows, times_s, host)
            pair = {first.get(number, number) for number in (clip, host)}
            if lag is None or len(pair) == 1:
                continue
            lag_s, values = lag
            best = clip_rows[np.argsort(-values, kind="stable")[: _half(len(clip_rows))]]
            score = float(np.sort(values)[-len(best) :].mean())
            rival = _rival(cosines[best], nearest[best], pair, first)
            if score < INSIDE or 1 - score > RIVAL * (1 - rival):
                continue
            shown = clip_rows[values >= min(INSIDE, score)]
            start_s, end_s = float(starts_s[shown].min()), float(ends_s[shown].max())
            end_of_host_s = float(ends_s[rows.borders[host] : rows.borders[host + 1]].max())
            begin_s, last_s = max(start_s + lag_s, 0.0), min(end_s + lag_s, end_of_host_s)
            yield clip, host, _Span(score, start_s, end_s), _Span(score, begin_s, last_s)


def _half(count: int) -> int:
    return (count + 1) // 2


def _hosts(rows: _Rows, clip_rows: Int64, cosines: Float32, nearest: Int64, clip: int) -> list[int]:
    """Recordings that may hold a clip: at most ``_TRIED``, those that its windows resemble most."""
    sums: dict[int, float] = defaultdict(float)
    for row in clip_rows.tolist():
        for cosine, number in zip(cosines[row].tolist(), nearest[row].tolist(), strict=True):
            sums[number] += max(cosine, 0.0)
    size = rows.count(clip)
    longer = [p for p in sums if (rows.count(p), -p) > (size, -clip) and rows.count(p) > 1]
    return sorted(longer, key=lambda number: -sums[number])[:_TRIED]


def _rival(cosines: Float32, nearest: Int64, pair: set[int], first: dict[int, int]) -> float:
    """Mean cosine of rows (M, K) with the third recording, apart from copies of a pair."""
    values: list[float] = []
    for row, places in zip(cosines.tolist(), nearest.tolist(), strict=True):
        others = [c for c, p in zip(row, places, strict=True) if first.get(p, p) not in pair]
        values.append(max(others[:_THIRD][-1], -1.0) if others else _ALONE)
    return float(np.mean(values))


def _at_one_lag(
    rows: _Rows, clip_rows: Int64, starts_s: Float64, host: int
) -> tuple[float, Float64] | None:
    """The lag at which half of a clip's M windows resemble a recording most, and cosines (M,).

    Between two windows of the recording lies what their mean shows, by the distance to each.
    Windows that lie outside of it have -1. None where no lag has half of them inside.
    """
    theirs, times_s = rows.aligned(host)
    stride_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    if stride_s <= 0:
        return None
    lags_s = np.arange(times_s[0] - starts_s[-1], times_s[-1] - starts_s[0], stride_s / _STEPS)
    lags_s = np.append(lags_s, times_s[-1] - starts_s[0])
    products = (rows.vectors[clip_rows] @ rows.vectors[theirs].T).astype(np.float64)
    vectors = rows.vectors[theirs]
    steps = np.append(np.sum(vectors[:-1] * vectors[1:], axis=1), 1.0).astype(np.float64)
    best, score = (0.0, np.empty(0)), -1.0
    for first in range(0, len(lags_s), _LAGS):
        lags = lags_s[first : first + _LAGS]
        values = _between(products, steps, times_s, starts_s[:, None] + lags[None], stride_s)
        half = np.sort(values, axis=0)[-_half(len(clip_rows)) :]
        scores = np.where(half.min(axis=0) > -1.0, half.mean(axis=0), -1.0)
        top = int(scores.argmax())
        if scores[top] > score:
            best, score = (float(lags[top]), np.minimum(values[:, top], 1.0)), float(scores[top])
    return best if score > -1.0 else None


def _between(
    products: Float64, steps: Float64, times_s: Float64, at_s: Float64, stride_s: float
) -> Float64:
    """Cosines (M, G) of M windows with what a recording shows at G times each; -1 outside of it.

    Args:
        products: (M, N) cosines with its N windows.
        steps: (N,) cosine of each of these with the next.
        times_s: (N,) their starts, rising.
        at_s: (M, G) times.
        stride_s: From one to the next.
    """
    inside = (at_s >= times_s[0] - stride_s / 2) & (at_s <= times_s[-1] + stride_s / 2)
    before = np.clip(np.searchsorted(times_s, at_s, side="right") - 1, 0, len(times_s) - 1)
    after = np.minimum(before + 1, len(times_s) - 1)
    gap_s = np.maximum(times_s[after] - times_s[before], 1e-9)
    share = np.where(after > before, np.clip((at_s - times_s[before]) / gap_s, 0, 1), 0.0)
    window = np.arange(len(products))[:, None]
    mean = (1 - share) * products[window, before] + share * products[window, after]
    length = np.sqrt((1 - share) ** 2 + share**2 + 2 * share * (1 - share) * steps[before])
    return np.where(inside, mean / np.maximum(length, 1e-6), -1.0)


def _joined(links: list[tuple[int, int]]) -> list[list[int]]:
    """Groups of recordings that are linked, directly or by others; ids in rising order."""
    if not links:
        return []
    ids, places = np.unique(np.array(links), return_inverse=True)
    a, right = places.reshape(-1, 2).T
    first, roots = np.arange(len(ids)), np.array([-1])  # the first recording of each one's group
    while not np.array_equal(first, roots):
        roots = first.copy()
        np.minimum.at(first, roots[a], roots[right])
        np.minimum.at(first, roots[right], roots[a])
        first = first[first]
    order = np.argsort(first, kind="stable")
    borders = np.flatnonzero(np.diff(first[order])) + 1
    return [group.tolist() for group in np.split(ids[order], borders)]


def _matched(rows: _Rows, number: int, parts: dict[int, _Span]) -> Matched:
    spans = list(parts.values())
    similarity = min(float(np.mean([span.cosine for span in spans])), 1.0)
    start_s = min(span.start_s for span in spans)
    return Matched(int(rows.ids[number]), similarity, start_s, max(span.end_s for span in spans))

"""Near-duplicate recordings: those whose windows show the same, in groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from vlar.discovery.neighbours import similar_pairs
from vlar.index.rows import RowTable
from vlar.types import Float32

# Cosine of two windows that show the same. Below it, different clips of one place are joined in
# hundreds (evals/discovery.py).
SAME = 0.99
_MATCHED = 0.5  # of the windows of the shorter recording


@dataclass
class _Pair:
    """Matched windows of two recordings."""

    left: dict[int, float] = field(default_factory=dict[int, float])
    right: dict[int, float] = field(default_factory=dict[int, float])


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


def duplicate_groups(table: RowTable, vectors: Float32, least: float = SAME) -> list[list[Matched]]:
    """Groups of recordings that show the same, largest first; the oldest of each comes first.

    Two recordings are near-duplicates where at least half of the windows of the one with fewer
    windows have a cosine of at least ``least`` with a window of the other.

    Args:
        table: N windows.
        vectors: (N, D) of unit length.
        least: A cosine.
    """
    pairs: dict[tuple[int, int], _Pair] = defaultdict(_Pair)
    for row, other, cosine in _best_matches(table, vectors, least):
        own = int(table.video_ids[row])
        pair = pairs[min(own, other), max(own, other)]
        (pair.left if own < other else pair.right)[row] = cosine
    ids, counts = np.unique(table.video_ids, return_counts=True)
    windows = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    joined = _Union()
    matched: dict[int, dict[int, float]] = defaultdict(dict)
    for (a, b), pair in pairs.items():
        shorter, found = (a, pair.left) if windows[a] <= windows[b] else (b, pair.right)
        if len(found) < _MATCHED * windows[shorter]:
            continue
        joined.join(a, b)
        for video_id, rows in ((a, pair.left), (b, pair.right)):
            for row, cosine in rows.items():
                matched[video_id][row] = max(cosine, matched[video_id].get(row, -1.0))
    groups = [[_matched(table, i, matched[i]) for i in sorted(g)] for g in joined.groups()]
    return sorted(groups, key=lambda group: (-len(group), group[0].video_id))


def _best_matches(
    table: RowTable, vectors: Float32, least: float
) -> Iterator[tuple[int, int, float]]:
    """Each row with each other recording that has a similar one, and their greatest cosine.

    Pairs are reduced block by block: a camera that shows the same for days has too many to keep.
    """
    ids = np.unique(table.video_ids)
    places = np.searchsorted(ids, table.video_ids)
    best: dict[int, float] = {}
    for left, right, cosines in similar_pairs(vectors, table.video_ids, least):
        for row, other in ((left, right), (right, left)):
            keys = row * len(ids) + places[other]
            order = np.argsort(keys, kind="stable")
            found, starts = np.unique(keys[order], return_index=True)
            greatest = np.maximum.reduceat(cosines[order], starts)
            for key, cosine in zip(found.tolist(), greatest.tolist(), strict=True):
                best[key] = max(cosine, best.get(key, -1.0))
    for key, cosine in best.items():
        row, place = divmod(key, len(ids))
        yield row, int(ids[place]), cosine


def _matched(table: RowTable, video_id: int, rows: dict[int, float]) -> Matched:
    places = np.array(sorted(rows))
    start_s, end_s = float(table.starts_s[places].min()), float(table.ends_s[places].max())
    return Matched(video_id, min(float(np.mean(list(rows.values()))), 1.0), start_s, end_s)


class _Union:
    """Sets that are joined pair by pair."""

    def __init__(self) -> None:
        self._above: dict[int, int] = {}

    def join(self, a: int, b: int) -> None:
        top_a, top_b = self._top(a), self._top(b)
        self._above[max(top_a, top_b)] = min(top_a, top_b)

    def groups(self) -> list[list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for each in self._above:
            found[self._top(each)].append(each)
        return list(found.values())

    def _top(self, each: int) -> int:
        self._above.setdefault(each, each)
        while self._above[each] != each:
            self._above[each] = self._above[self._above[each]]
            each = self._above[each]
        return each

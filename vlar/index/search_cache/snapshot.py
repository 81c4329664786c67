"""What a search sees: an index of most rows, the newer rows beside it, without the dead ones.

Adds and deletes are visible at once: rows that the index lacks are compared one by one, rows that
are gone are left out while it searches. When they become many they are folded into the index
(``vlar.index.search_cache.cache``).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from vlar.index.protocol import AnnIndex, Probes
from vlar.index.store.database import Float16, Int64, RowBatch, Store
from vlar.index.store.rows import RowFilter, RowSource, RowTable, Selection
from vlar.types import Float32

_KEPT_SELECTIONS = 4


@dataclass(frozen=True)
class Held:
    """Few rows in memory as the truth has them, with the paths of their videos by id."""

    rows: RowBatch
    paths: Mapping[int, str]


@dataclass(frozen=True)
class Chosen:
    """A filter's rows: places of the index, and places of the newer rows."""

    old: Selection
    new: Selection
    _held: list[Held] = field(default_factory=list[Held])

    @cached_property
    def count(self) -> int:
        """How many rows."""
        return self.old.count + self.new.count

    def held(self, read: Callable[[], Held]) -> Held:
        """The rows themselves; they are read once."""
        if not self._held:
            self._held.append(read())
        return self._held[0]


@dataclass(frozen=True)
class View:
    """One state of a library, ready to be searched.

    Attributes:
        base: The index.
        table: Its rows (N,).
        dead: Places of it that are gone.
        newer: The rows it lacks (M,).
        newer_vectors: Their vectors (M, D).
    """

    base: AnnIndex
    table: RowTable
    dead: Int64
    newer: RowTable
    newer_vectors: Float32
    _kept: dict[Hashable, Chosen] = field(default_factory=dict[Hashable, Chosen])

    @classmethod
    def whole(cls, base: AnnIndex, table: RowTable) -> View:
        """Of an index that lacks nothing."""
        nothing = np.empty(0, np.int64)
        return cls(base, table, nothing, RowTable.empty(), np.empty((0, 0), np.float32))

    @classmethod
    def over(
        cls, base: AnnIndex, table: RowTable, since: int, store: Store, dim: int
    ) -> View | None:
        """Of an index made at generation ``since``; None where it does not lead to the truth.

        An id stands for one vector for ever, so an old index lacks only the ids behind its last
        one and holds too much only the dead ones. The count proves that nothing was overlooked.
        """
        last = int(table.ids[-1]) if len(table) else 0
        newer, vectors = RowSource(store, dim, last).all()
        dead = store.dead_ids(since)
        dead = dead[dead <= last]
        places = np.searchsorted(table.ids, dead)
        if not np.array_equal(table.ids[places], dead):
            return None
        if len(table) - len(dead) + len(newer) != store.row_count():
            return None
        return cls(base, table, places, newer, vectors.astype(np.float32))

    @property
    def changes(self) -> int:
        """Rows beside the index and dead rows in it."""
        return len(self.newer) + len(self.dead)

    @cached_property
    def alive(self) -> Selection:
        """The places of the index that are not dead."""
        mask = np.ones(len(self.table), np.bool_)
        mask[self.dead] = False
        return Selection(mask)

    @cached_property
    def rows(self) -> RowTable:
        """All rows there are."""
        return RowTable.joined([self.table.where(self.alive.mask), self.newer])

    @property
    def ids(self) -> Int64:
        """Ids of all rows there are, rising."""
        return self.rows.ids

    def choose(self, which: RowFilter) -> Chosen:
        """The rows that a filter leaves."""
        old = which.mask(self.table)
        old[self.dead] = False
        return Chosen(Selection(old), Selection(which.mask(self.newer)))

    def ids_of(self, chosen: Chosen) -> Int64:
        """Ids of a filter's rows, rising."""
        return np.concatenate([self.table.ids[chosen.old.places], self.newer.ids[chosen.new.mask]])

    def kept(self, key: Hashable, which: Callable[[], RowFilter]) -> Chosen:
        """What ``choose`` gave for a key before, or gives for a filter now."""
        if key not in self._kept:
            while len(self._kept) >= _KEPT_SELECTIONS:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = self.choose(which())
        return self._kept[key]

    def search(
        self, query: Float32, k: int, allowed: Chosen | Int64 | None = None
    ) -> tuple[Int64, Float32]:
        """Ids and scores of rows that hold the best ``k``, best first.

        More than ``k`` where the index's scores are only near (``AnnIndex.reach``).

        Args:
            query: (D,).
            k: Rows wanted; so many are given whenever so many are allowed.
            allowed: A filter's rows, or sorted ids; None is any row.
        """
        if allowed is not None and not isinstance(allowed, Chosen):
            allowed = self._of_ids(allowed)
        k = self.base.reach(k)
        old = allowed.old if allowed is not None else (self.alive if len(self.dead) else None)
        places, scores = self.base.search(query, k, old)
        ids = self.table.ids[places]
        if not len(self.newer):
            return ids, scores
        new, new_scores = self._compare(query, k, None if allowed is None else allowed.new)
        both = np.concatenate([scores, new_scores])
        order = np.argsort(-both, kind="stable")[:k]
        return np.concatenate([ids, self.newer.ids[new]])[order], both[order]

    def _compare(self, query: Float32, k: int, allowed: Selection | None) -> tuple[Int64, Float32]:
        vectors = self.newer_vectors if allowed is None else self.newer_vectors[allowed.mask]
        scores = vectors @ query
        best = np.argpartition(-scores, k)[:k] if len(scores) > k else np.arange(len(scores))
        return best if allowed is None else allowed.places[best], scores[best]

    def _of_ids(self, ids: Int64) -> Chosen:
        old = np.isin(self.table.ids, ids)
        old[self.dead] = False
        return Chosen(Selection(old), Selection(np.isin(self.newer.ids, ids)))

    def folded(self, source: RowSource, probes: Probes | None) -> View | None:
        """The same rows, all in the index; None where it must be trained anew."""
        vectors: Float16 = self.newer_vectors.astype(np.float16)
        base = self.base.updated(self.alive, vectors, source, probes)
        return None if base is None else View.whole(base, self.rows)

"""The search of a library in Milvus: vector search and filters run there.

Milvus proposes rows; their similarity is computed again from the stored vectors, as for every
engine. Where Milvus finds fewer rows than there are (an approximate index under a narrow filter),
or where more are wanted than it gives at once (16,384), all rows that pass are compared here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vlar.index.engines.base import Engine, Probes
from vlar.index.milvus.client import MOST_HITS
from vlar.index.milvus.indexes import search_params
from vlar.index.milvus.rows import Rows
from vlar.index.rows import Float16, Int64, RowFilter, RowSource, RowTable
from vlar.types import Float32

_ALL = RowFilter()


class MilvusEngine(Engine):
    """Searches the rows of one state.

    Args:
        rows: Gives what reads them in the present snapshot.
        dim: D.
        index: Name of the index that Milvus has.
        facts: For ``vlar index info``.
    """

    name = "milvus"
    exact = False
    rows = None
    why = "Milvus searches"
    is_near = False

    def __init__(
        self, rows: Callable[[], Rows], dim: int, index: str, facts: Mapping[str, Any]
    ) -> None:
        self._read, self._dim, self._index, self.facts = rows, dim, index, facts

    @classmethod
    def build(cls, source: RowSource, probes: Probes | None) -> MilvusEngine:
        """Not offered: Milvus holds the rows already."""
        raise NotImplementedError

    def add(self, table: RowTable, vectors: Float16) -> None:
        """Nothing: Milvus has the rows already."""

    def delete(self, ids: Int64) -> None:
        """Nothing: Milvus has deleted the rows already."""

    def search(
        self, query: Float32, k: int, allowed: RowFilter | None = None
    ) -> tuple[Int64, Float32]:
        """Ids and inner products of rows that include the best ``k``, best first."""
        wanted = allowed or _ALL
        if k <= MOST_HITS:
            params = search_params(self._index, k)
            ids, scores = self._read().search(query, k, wanted, params)
            if len(ids) == k or len(ids) == self._read().count(wanted):
                return ids, scores
        return self._compared(query, k, wanted)

    def _compared(self, query: Float32, k: int, allowed: RowFilter) -> tuple[Int64, Float32]:
        """The best of all rows that pass, compared a batch at a time."""
        ids, scores = np.empty(0, np.int64), np.empty(0, np.float32)
        for batch in self._read().scan(self._dim, allowed):
            ids = np.concatenate([ids, batch.ids])
            scores = np.concatenate([scores, batch.wide @ query])
            order = np.argsort(-scores, kind="stable")[:k]
            ids, scores = ids[order], scores[order]
        return ids, scores

    def ids(self, allowed: RowFilter | None = None) -> Int64:
        """Ids of the rows that pass a filter, in rising order."""
        pages = self._read().times(allowed or _ALL)
        return np.sort(np.array([row["id"] for page in pages for row in page], np.int64))

    def count(self, allowed: RowFilter | None = None) -> int:
        """Number of the rows that pass a filter."""
        return self._read().count(allowed or _ALL)

    @property
    def last_id(self) -> int:
        """Not asked for: no row waits to be added."""
        return 0

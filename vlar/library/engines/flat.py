"""Exact search: every row is compared. FAISS's ``IndexFlatIP``, or NumPy where FAISS is absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from vlar.library.engines.base import Probes
from vlar.library.engines.faiss_cache import BufferedEngine, faiss_module, selector
from vlar.library.rows import Float16, Int64, RowFilter, RowSource, RowTable, Selection, read_all
from vlar.library.shared_calls import SharedCalls
from vlar.registry import register
from vlar.types import Float32

_MOST_PREPARED = 32
_SUBSET = 0.2  # up to this share of rows, comparing only them is cheaper than a filtered scan


@register("engine", "flat")
class FlatEngine(BufferedEngine):
    """Inner products with all rows (N, D); the best ones by a partial sort."""

    name = "flat"
    exact = True
    rows = (0, 100_000)
    why = "exact search: every row is compared, in about 10 ms at 100,000 rows or less"

    def __init__(self, table: RowTable, vectors: Float32, index: Any | None) -> None:
        super().__init__(table, vectors.shape[1])
        self.facts: Mapping[str, Any] = {}
        self._vectors = vectors
        self.faiss_index = index
        self._products = SharedCalls(partial(_products, vectors))
        self._prepared: dict[bytes, Float32] = {}  # products with all rows, by query

    @classmethod
    def build(cls, source: RowSource, probes: Probes | None) -> FlatEngine:
        table, vectors = read_all(source)
        return cls.of(table, vectors.astype(np.float32))

    @classmethod
    def of(cls, table: RowTable, vectors: Float32) -> FlatEngine:
        """Build the engine from rows and their unit vectors (N, D)."""
        faiss = _faiss()
        if faiss is None:
            return cls(table, vectors, None)
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors))
        return cls(table, _stored(faiss, index), index)

    def rebuilt(
        self,
        keep: Selection,
        vectors: Float16,
        table: RowTable,
        source: RowSource,
        probes: Probes | None,
    ) -> FlatEngine | None:
        old_vectors = (
            self._vectors if keep.count == len(self._vectors) else self._vectors[keep.mask]
        )
        return self.of(table, np.concatenate([old_vectors, vectors.astype(np.float32)]))

    def find(self, query: Float32, k: int, allowed: Selection | None) -> tuple[Int64, Float32]:
        total = len(self._vectors)
        size = total if allowed is None else allowed.count
        k = min(k, size)
        if k == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        if (scores := self._prepared.pop(query.tobytes(), None)) is not None:
            return _best(scores, k, allowed)
        if self.faiss_index is None or (allowed is not None and size <= _SUBSET * total):
            return self._compare_all(query, k, allowed)
        only = None
        if allowed is not None:
            only = faiss_module().SearchParameters(sel=selector(allowed))
        scores, ids = self.faiss_index.search(query[None], k, params=only)
        return ids[0], scores[0]

    def _compare_all(
        self, query: Float32, k: int, allowed: Selection | None
    ) -> tuple[Int64, Float32]:
        if allowed is None:
            return _best(self._vectors @ query, k, None)
        best, scores = _best(self._vectors[allowed.places] @ query, k, None)
        return allowed.places[best], scores

    def prepare(self, query: Float32) -> None:
        if self.accelerator is None and len(self._vectors):
            self._prepared[query.tobytes()] = self._products(query)
            for key in list(self._prepared)[:-_MOST_PREPARED]:  # of callers that left
                self._prepared.pop(key, None)

    def vectors_at(self, places: Int64) -> Float32:
        return self._vectors[places]

    def rows_of(self, videos: frozenset[int]) -> RowTable | None:
        chosen = RowFilter(videos)
        old = chosen.mask(self._table) & ~self._dead
        return RowTable.joined([self._table.where(old), self._new.where(chosen.mask(self._new))])

    def stored(self, places: Int64, vectors: Float16) -> bool:
        return np.array_equal(self._vectors[places], vectors.astype(np.float32))

    def write(self, path: Path) -> bool:
        faiss = _faiss()
        if faiss is None or self.faiss_index is None:
            return False
        faiss.write_index(self.faiss_index, str(path))
        return True

    @classmethod
    def read(cls, path: Path, facts: Mapping[str, Any], table: RowTable) -> FlatEngine | None:
        if (faiss := _faiss()) is None:
            return None
        index = faiss.read_index(str(path))
        return cls(table, _stored(faiss, index), index)


def _products(vectors: Float32, queries: Sequence[Float32]) -> Sequence[Float32]:
    """(N,) products of all rows with each query; many share one way through the rows."""
    if len(queries) == 1:
        return [vectors @ queries[0]]
    return list(np.ascontiguousarray((vectors @ np.stack(queries, axis=1)).T))


def _best(scores: Float32, k: int, allowed: Selection | None) -> tuple[Int64, Float32]:
    """Places and scores of the best ``k`` of (N,), or of those that are allowed, best first."""
    if allowed is not None:
        places = allowed.places
        best, scores = _best(scores[places], k, None)
        return places[best], scores
    best = np.argpartition(-scores, k - 1)[:k]
    best = best[np.argsort(-scores[best], kind="stable")]
    return best, scores[best]


def _faiss() -> Any | None:
    try:
        import faiss
    except ImportError:
        return None
    return cast("Any", faiss)


def _stored(faiss: Any, index: Any) -> Float32:
    # A view of the index's own memory: the vectors are held once.
    if index.ntotal == 0:
        return np.empty((0, index.d), np.float32)
    return faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)

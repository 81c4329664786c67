"""Exact search: every row is compared. FAISS's ``IndexFlatIP``, or NumPy where FAISS is absent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from vlar.index.protocol import Probes
from vlar.index.store.database import Float16, Int64
from vlar.index.store.rows import RowSource, RowTable, Selection
from vlar.registry import register
from vlar.types import Float32

_SUBSET = 0.2  # up to this share of rows, comparing just them is cheaper than a filtered scan


@register("engine", "flat")
class FlatIndex:
    """Inner products with all rows (N, D); the best ones by a partial sort."""

    name = "flat"
    exact = True
    rows = (0, 100_000)
    why = "exact search: every row is compared, in about 10 ms at 100,000 rows or less"

    def __init__(self, vectors: Float32, index: Any | None) -> None:
        """Use ``build`` or ``read``. ``index`` is the ``IndexFlatIP``, None without FAISS."""
        self.size = len(vectors)
        self.facts: Mapping[str, Any] = {}
        self._vectors = vectors
        self.faiss_index = index

    @classmethod
    def build(cls, source: RowSource, probes: Probes | None) -> tuple[FlatIndex, RowTable]:
        """From all rows of a store."""
        table, vectors = source.all()
        return cls.of(vectors.astype(np.float32)), table

    @classmethod
    def of(cls, vectors: Float32) -> FlatIndex:
        """From unit vectors (N, D)."""
        faiss = _faiss()
        if faiss is None:
            return cls(vectors, None)
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors))
        return cls(_stored(faiss, index), index)

    def updated(
        self, keep: Selection, vectors: Float16, source: RowSource, probes: Probes | None
    ) -> FlatIndex | None:
        """The rows of ``keep``, with new ones behind them."""
        kept = self._vectors if keep.count == self.size else self._vectors[keep.mask]
        return self.of(np.concatenate([kept, vectors.astype(np.float32)]))

    def reach(self, k: int) -> int:
        """How many rows hold the best ``k``: the scores are exact."""
        return k

    def search(self, query: Float32, k: int, allowed: Selection | None) -> tuple[Int64, Float32]:
        """Places and inner products of the best ``k`` rows, best first."""
        size = self.size if allowed is None else allowed.count
        k = min(k, size)
        if k == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        if self.faiss_index is None or (allowed is not None and size <= _SUBSET * self.size):
            return self._compare(query, k, allowed)
        scores, found = self.faiss_index.search(query[None], k, params=_only(allowed))
        return found[0], scores[0]

    def _compare(self, query: Float32, k: int, allowed: Selection | None) -> tuple[Int64, Float32]:
        vectors = self._vectors if allowed is None else self._vectors[allowed.places]
        scores = vectors @ query
        best = np.argpartition(-scores, k - 1)[:k]
        best = best[np.argsort(-scores[best], kind="stable")]
        return best if allowed is None else allowed.places[best], scores[best]

    def write(self, path: Path) -> bool:
        """Write the FAISS file; False where FAISS is absent."""
        faiss = _faiss()
        if faiss is None or self.faiss_index is None:
            return False
        faiss.write_index(self.faiss_index, str(path))
        return True

    @classmethod
    def read(cls, path: Path, facts: Mapping[str, Any]) -> FlatIndex | None:
        """Read the FAISS file; None where it does not fit or FAISS is absent."""
        faiss = _faiss()
        if faiss is None:
            return None
        index = faiss.read_index(str(path))
        return cls(_stored(faiss, index), index) if isinstance(index, faiss.IndexFlat) else None


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


def _only(allowed: Selection | None) -> Any | None:
    if allowed is None:
        return None
    faiss: Any = _faiss()
    return faiss.SearchParameters(sel=allowed.selector)

"""Exact search: every row is compared. FAISS's ``IndexFlatIP``, or NumPy where FAISS is absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

from vlar.index.store import Int64
from vlar.registry import register
from vlar.types import Float32

_SUBSET = 0.2  # up to this share of rows, comparing just them is cheaper than a filtered scan


@register("ann", "flat")
class FlatIndex:
    """Inner products with all rows (N, D); the best ones by a partial sort."""

    name = "flat"
    exact = True

    def __init__(self, ids: Int64, vectors: Float32, index: Any | None) -> None:
        """Use ``build`` or ``read``. ``index`` is the ``IndexFlatIP``, None without FAISS."""
        self.ids = ids
        self._vectors = vectors
        self._index = index

    @classmethod
    def build(cls, ids: Int64, vectors: Float32) -> FlatIndex:
        """From ids (N,), rising, and unit vectors (N, D)."""
        faiss = _faiss()
        if faiss is None:
            return cls(ids, vectors, None)
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors))
        return cls(ids, _stored(faiss, index), index)

    def updated(self, dead: Int64, ids: Int64, vectors: Float32) -> FlatIndex:
        """Without the rows ``dead``, with new rows behind the last id."""
        keep = ~np.isin(self.ids, dead)
        kept = self._vectors if keep.all() else self._vectors[keep]
        return self.build(np.concatenate([self.ids[keep], ids]), np.concatenate([kept, vectors]))

    def search(self, query: Float32, k: int, allowed: Int64 | None) -> tuple[Int64, Float32]:
        """Ids and inner products of the best ``k`` rows, best first, among ``allowed`` (sorted)."""
        places = None
        if allowed is not None:
            places = np.flatnonzero(np.isin(self.ids, allowed))
        size = len(self.ids) if places is None else len(places)
        k = min(k, size)
        if k == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        if self._index is None or (places is not None and size <= _SUBSET * len(self.ids)):
            return self._compare(query, k, places)
        scores, found = self._index.search(query[None], k, params=_only(places, len(self.ids)))
        return self.ids[found[0]], scores[0]

    def _compare(self, query: Float32, k: int, places: Int64 | None) -> tuple[Int64, Float32]:
        vectors = self._vectors if places is None else self._vectors[places]
        scores = vectors @ query
        best = np.argpartition(-scores, k - 1)[:k]
        best = best[np.argsort(-scores[best], kind="stable")]
        return self.ids[best if places is None else places[best]], scores[best]

    def write(self, path: Path) -> bool:
        """Write the FAISS file; False where FAISS is absent."""
        faiss = _faiss()
        if faiss is None or self._index is None:
            return False
        faiss.write_index(self._index, str(path))
        return True

    @classmethod
    def read(cls, path: Path, ids: Int64) -> FlatIndex | None:
        """Read the FAISS file; None where it does not fit the ids or FAISS is absent."""
        faiss = _faiss()
        if faiss is None:
            return None
        index = faiss.read_index(str(path))
        if not isinstance(index, faiss.IndexFlat) or index.ntotal != len(ids):
            return None
        return cls(ids, _stored(faiss, index), index)


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


def _only(places: Int64 | None, size: int) -> Any | None:
    if places is None:
        return None
    faiss: Any = _faiss()
    bits = np.zeros(size, np.uint8)
    bits[places] = 1
    selector = faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))
    return faiss.SearchParameters(sel=selector)

"""Rows by a vector: the search without a text and without spans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vlar.errors import QueryError
from vlar.index.report import RowHit
from vlar.index.rows import Int64
from vlar.index.search_cache.cache import SearchCache
from vlar.index.store.database import RowBatch, Store
from vlar.query.where import Where, conditions, kept_row_filter
from vlar.types import Float32

_HELD_BYTES = 24 << 20  # of the rows of a filter that are kept in memory


@dataclass(frozen=True)
class _Held:
    """Rows in memory as the store has them, with the paths of their videos by id."""

    rows: RowBatch
    paths: Mapping[int, str]


def nearest(
    store: Store, cache: SearchCache, vector: Float32, k: int, where: Where | None
) -> list[RowHit]:
    """The best ``k`` rows by the stored vectors, best first. Use in ``store.snapshot()``.

    Raises:
        QueryError: wrong vector width, ``k`` below 1, or an invalid filter.
    """
    dim, engine = cache.origin.dim, cache.engine
    if np.shape(vector) != (dim,):
        raise QueryError(f"a vector of shape {np.shape(vector)}; this library needs ({dim},)")
    if k < 1:
        raise QueryError(f"k is {k}; ask for at least 1 row")
    query = np.ascontiguousarray(vector, np.float32)
    allowed = kept_row_filter(store, cache, conditions(where))
    if allowed is not None and engine.count(allowed) * dim * query.itemsize <= _HELD_BYTES:
        held = cache.keep(("rows", allowed), lambda: _read(store, engine.ids(allowed), dim))
    else:
        held = _read(store, engine.search(query, k, allowed)[0], dim)
    scores = held.rows.vectors @ query
    return [_hit(held, place, float(scores[place])) for place in _best(scores, k)]


def _read(store: Store, ids: Int64, dim: int) -> _Held:
    rows = store.rows(ids.tolist(), dim)
    return _Held(rows, store.paths(np.unique(rows.video_ids).tolist()))


def _best(scores: Float32, k: int) -> list[int]:
    """Places of the best ``k``; equal ones by id."""
    if len(scores) <= k:
        return np.argsort(-scores, kind="stable").tolist()
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    places = np.flatnonzero(scores >= least)
    return places[np.argsort(-scores[places], kind="stable")[:k]].tolist()


def _hit(held: _Held, place: int, similarity: float) -> RowHit:
    start_s, end_s = held.rows.spans[place]
    return RowHit(held.paths[int(held.rows.video_ids[place])], start_s, end_s, similarity)

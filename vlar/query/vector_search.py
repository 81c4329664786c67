"""Rows by a vector: the search without a text, without spans."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vlar.errors import QueryError
from vlar.index.report import RowHit
from vlar.index.search_cache.cache import Cached
from vlar.index.search_cache.snapshot import Held
from vlar.index.store.database import Int64, Store
from vlar.query.where import chosen_rows
from vlar.types import Float32

_HELD_BYTES = 24 << 20  # vectors of a filter that are kept in memory; some filters are kept


def nearest(
    store: Store, cached: Cached, vector: Float32, k: int, where: Mapping[str, str]
) -> list[RowHit]:
    """The best ``k`` rows, best first, by the vectors of the truth. Use in ``store.snapshot()``.

    Raises:
        QueryError: another width, ``k`` below 1, or a filter that cannot be.
    """
    dim = cached.origin.dim
    if np.shape(vector) != (dim,):
        raise QueryError(f"a vector of shape {np.shape(vector)}; this library needs ({dim},)")
    if k < 1:
        raise QueryError(f"k is {k}; ask for at least 1 row")
    query = np.ascontiguousarray(vector, np.float32)
    chosen = chosen_rows(store, cached, where)
    if chosen is not None and chosen.count * dim * query.itemsize <= _HELD_BYTES:
        held = chosen.held(lambda: _read(store, cached.index.ids_of(chosen), dim))
    else:
        held = _read(store, cached.index.search(query, k, chosen)[0], dim)
    scores = held.rows.vectors @ query
    return [_hit(held, place, float(scores[place])) for place in _best(scores, k)]


def _read(store: Store, ids: Int64, dim: int) -> Held:
    rows = store.rows(ids.tolist(), dim)
    return Held(rows, store.paths(np.unique(rows.video_ids).tolist()))


def _best(scores: Float32, k: int) -> list[int]:
    """Places of the best ``k``; equal ones by id."""
    if len(scores) <= k:
        return np.argsort(-scores, kind="stable").tolist()
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    places = np.flatnonzero(scores >= least)
    return places[np.argsort(-scores[places], kind="stable")[:k]].tolist()


def _hit(held: Held, place: int, similarity: float) -> RowHit:
    start_s, end_s = held.rows.spans[place]
    return RowHit(held.paths[int(held.rows.video_ids[place])], start_s, end_s, similarity)

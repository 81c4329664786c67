"""Rows by a vector: the search without a text, without spans."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vlar.errors import QueryError
from vlar.index.ann import Cached
from vlar.index.report import RowHit
from vlar.index.store import RowBatch, Store
from vlar.query.where import chosen_rows
from vlar.types import Float32


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
    ids, _ = cached.index.search(query, k, chosen_rows(store, cached, where))
    rows = store.rows(ids.tolist(), dim)
    scores = rows.vectors @ query
    best = np.argsort(-scores, kind="stable")[:k].tolist()
    paths = store.paths(sorted({int(rows.video_ids[place]) for place in best}))
    return [_hit(rows, place, paths, float(scores[place])) for place in best]


def _hit(rows: RowBatch, place: int, paths: Mapping[int, str], similarity: float) -> RowHit:
    start_s, end_s = rows.spans[place]
    return RowHit(paths[int(rows.video_ids[place])], start_s, end_s, similarity)

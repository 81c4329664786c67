"""Rows by a vector: the search without a text and without spans."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vlar.errors import QueryError
from vlar.index.report import RowHit
from vlar.index.rows import Int64, RowPerson
from vlar.index.search_cache.cache import SearchCache
from vlar.index.store.base import LibraryStore
from vlar.index.store.row_check import NO_RECORDING
from vlar.numeric import cosine
from vlar.query.where import Where, conditions, kept_row_filter
from vlar.types import Float32

_HELD_BYTES = 24 << 20  # of the rows of a filter that are kept in memory
_SORTED = 256  # up to this number of rows, sorting all is fastest
_UNIT = 1.02  # squared length of a unit vector, after rounding


@dataclass(frozen=True)
class _Held:
    """N rows in memory as the store has them, all of them whole.

    Attributes:
        vectors: (N, D).
        places: Path, start and end of each row.
        people: Whom the rows of people show, by place.
    """

    vectors: Float32
    places: Sequence[tuple[str, float, float]]
    people: Mapping[int, RowPerson] = field(default_factory=dict[int, RowPerson])


def nearest(
    store: LibraryStore, cache: SearchCache, vector: Float32, k: int, where: Where | None
) -> list[RowHit]:
    """The best ``k`` rows by the stored vectors, best first. Use in ``store.snapshot()``.

    Damaged rows are left out (``store.damaged``).

    Raises:
        QueryError: wrong vector width, ``k`` below 1, or an invalid filter.
    """
    (query, squared), engine = _query(cache, vector, k), cache.engine
    allowed = kept_row_filter(store, cache, conditions(where))
    near = engine.is_near  # else reading the rows takes longer than the search
    if near and allowed is not None and engine.count(allowed) * query.nbytes <= _HELD_BYTES:
        key = _held_key(store.data_version(), where)
        held = cache.keep(key, lambda: _read(store, engine.ids(allowed), cache.origin.dim))
        return _answer(held, query, squared, k)
    wanted = k
    while True:
        ids = engine.search(query, wanted, allowed)[0]
        held = _read(store, ids, cache.origin.dim)
        if len(held.places) >= k or len(ids) < wanted:
            return _answer(held, query, squared, k)
        wanted *= 4  # some of the rows were damaged


def nearest_held(
    cache: SearchCache, version: int, vector: Float32, k: int, where: Where | None
) -> list[RowHit] | None:
    """The answer of ``nearest`` without a look at the store, where the rows are in memory.

    Args:
        cache: Of the present state.
        version: ``store.data_version()``.
        vector: As in ``nearest``.
        k: As in ``nearest``.
        where: As in ``nearest``.
    """
    held = cache.kept(_held_key(version, where)) if where else None
    return _answer(held, *_query(cache, vector, k), k) if isinstance(held, _Held) else None


def _query(cache: SearchCache, vector: Float32, k: int) -> tuple[Float32, float]:
    """The vector as it is compared, and its squared length."""
    dim = cache.origin.dim
    if np.shape(vector) != (dim,):
        raise QueryError(f"a vector of shape {np.shape(vector)}; this library needs ({dim},)")
    if k < 1:
        raise QueryError(f"k is {k}; ask for at least 1 row")
    query = np.ascontiguousarray(vector, np.float32)
    squared = float(np.dot(query, query))
    if not math.isfinite(squared):
        raise QueryError("a vector with a value that is not a number, or too large")
    return query, squared


def _held_key(version: int, where: Where | None) -> tuple[object, ...]:
    # Filters as they were written, where that can be hashed: a repeated one is not parsed again.
    if isinstance(where, Mapping) or not where:
        return "rows", version, conditions(where)
    return "rows", version, where if isinstance(where, str) else tuple(where)


def _read(store: LibraryStore, ids: Int64, dim: int) -> _Held:
    rows = store.rows(ids.tolist(), dim)
    paths = store.paths(np.unique(rows.video_ids).tolist())
    owners = rows.video_ids.tolist()
    owned = [place for place, video_id in enumerate(owners) if video_id in paths]
    if len(owned) < len(owners):
        lost = set(rows.ids.tolist()).difference(rows.ids[owned].tolist())
        store.damaged.update(dict.fromkeys(lost, NO_RECORDING))
    places = [(paths[owners[place]], *rows.spans[place]) for place in owned]
    vectors = rows.vectors if len(owned) == len(owners) else rows.vectors[owned]
    ids_held = rows.ids[owned].tolist() if rows.people else ()
    people = {at: rows.people[i] for at, i in enumerate(ids_held) if i in rows.people}
    return _Held(vectors, places, people)


def _answer(held: _Held, query: Float32, squared: float, k: int) -> list[RowHit]:
    scores = held.vectors @ query
    best = _best(scores, k)
    similarities = scores[best].tolist()
    if similarities and squared <= _UNIT and (similarities[0] > 1 or similarities[-1] < -1):
        similarities = [cosine(value) for value in similarities]
    places = held.places
    found = [RowHit(*places[at], value) for at, value in zip(best, similarities, strict=True)]
    if not held.people:
        return found
    people = ((row, held.people.get(at)) for row, at in zip(found, best, strict=True))
    return [
        row if person is None else replace(row, track=person.track, box=person.box)
        for row, person in people
    ]


def _best(scores: Float32, k: int) -> list[int]:
    """Places of the best ``k``; equal ones by id."""
    if len(scores) <= max(k, _SORTED):
        return np.argsort(-scores, kind="stable")[:k].tolist()
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    places = np.flatnonzero(scores >= least)
    return places[np.argsort(-scores[places], kind="stable")[:k]].tolist()

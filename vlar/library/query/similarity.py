"""Compare every window of a library with every phrase of a query.

``probability`` is absolute: against everyday actions. Its height differs from phrase to phrase: the
best window of one has 0.9, of another 0.1, and a product or a complement is then decided by one of
the two. So operators work on a normalized value: how far a window stands out among the windows
searched::

    p(i) = 1 / (1 + exp(-(z(i) - 1.5))),   z(i) = (s(i) - mean s) / std s

with cosines ``s`` of the windows with the phrase, or with the clip of a LIKE. The middle of 1.5 was
chosen on half of a made library (evals/README.md). With fewer than 32 windows the mean and the
spread are not reliable, and the absolute probability is used instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlar.cancellation import check
from vlar.errors import QueryError
from vlar.library.cache import SearchCache
from vlar.library.manifest import LibraryManifest
from vlar.library.model_provider import QueryWords
from vlar.library.query.caption_search import quoted_in, said
from vlar.library.query.expression_scoring import ScoredWindows
from vlar.library.query.filters import Where, conditions, kept_row_filter, path_matches
from vlar.library.query.grammar import Leaf, Like, Pair, Phrase, Quote, Says, show
from vlar.library.rows import Bool, Box, Int64, RowFilter, RowHit, RowPerson, RowTable
from vlar.library.store.annotations import Caption
from vlar.library.store.base import LibraryStore
from vlar.library.store.row_check import NO_RECORDING
from vlar.media.lookup import reader
from vlar.media.video.container import errors_of
from vlar.media.video.folder import read_picture
from vlar.media.video.sample import sample_times
from vlar.model.library_model import LibraryModel
from vlar.numeric import cosine, sigmoid
from vlar.types import Clip, Float32, Float64, Window

LinkedVectors = Callable[[Path, Window | None], Float32 | None]
_MIDDLE = 1.5
_FEWEST_WINDOWS = 32
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True)
class Comparison:
    """N windows and how well each answers each leaf, sorted by video, track and time.

    Attributes:
        windows: N windows.
        paths: Path of each video, by id.
        similarity: (N,) cosines by leaf.
        probability: (N,) by leaf, of each window alone; for a clip the normalized value.
        normalized: (N,) by leaf, how far a window stands out.
    """

    windows: ScoredWindows
    paths: Mapping[int, str]
    similarity: Mapping[Leaf, Float64]
    probability: Mapping[Leaf, Float64]
    normalized: Mapping[Leaf, Float64]

    def matching(self, pattern: str) -> Float64:
        """(N,) 1 in the videos whose path matches a pattern, else 0."""
        meant = [i for i, path in self.paths.items() if path_matches(path, pattern)]
        return np.isin(self.windows.video_ids, meant).astype(np.float64)


def compare(
    store: LibraryStore,
    manifest: LibraryManifest,
    model: LibraryModel,
    queries: Mapping[Leaf, Float32],
    rows: RowFilter,
    says: Sequence[Says] = (),
    everyday: Callable[[Float32, Int64], Float64 | None] | None = None,
) -> Comparison:
    """Compare every window that a filter leaves with every leaf, a batch of vectors at a time.

    Args:
        store: The rows.
        manifest: Their common properties.
        model: The library's model.
        queries: (D,) vector of each phrase and clip.
        rows: The filter.
        says: Words that captions should have.
        everyday: Figures of rows (N, D), by their ids (N,), that no phrase changes; None: computed
            where several phrases share them.

    Raises:
        QueryError: words of captions are looked for, and the library keeps none.
    """
    paths = store.paths()
    chosen = paths.keys() if rows.videos is None else rows.videos & paths.keys()
    stacked = np.array(list(queries.values()), np.float64).reshape(len(queries), manifest.dim)
    tables: list[RowTable] = []
    people: dict[int, RowPerson] = {}
    scored: list[tuple[Float32, Float32]] = [_no_scores(len(queries))]
    for batch in store.scan(manifest.dim, rows):
        check()
        tables.append(RowTable(batch.ids, batch.video_ids, *batch.times_s.T))
        people.update(batch.people)
        similar = (stacked @ batch.wide.T.astype(np.float64)).astype(np.float32)
        probable = np.zeros_like(similar)
        words = [column for column, leaf in enumerate(queries) if not isinstance(leaf, Like)]
        if everyday is not None and words:
            figures = everyday(batch.wide, batch.ids)
        else:
            figures = model.everyday(batch.wide) if len(words) > 1 else None
        more = () if figures is None else (figures,)  # what no phrase changes is computed once
        for column, query in enumerate(queries.values()):
            if column in words:
                probable[column] = model.match_probability(batch.wide, query, *more)
        if manifest.mapping is not None:
            mapped = store.mapped(batch.ids.tolist())
            is_mapped = np.array([row_id in mapped for row_id in batch.ids.tolist()], np.bool_)
            scaled = manifest.mapping.scaled(probable.astype(np.float64))
            probable = np.where(is_mapped, scaled, probable).astype(np.float32)
        for leaf, pair_values in pair_scores(store, model, batch.ids, queries).items():
            column = list(queries).index(leaf)
            similar[column], probable[column] = pair_values
        scored.append((similar, probable))
    table = RowTable.joined(tables)
    similarity, probability = (
        np.concatenate(column_values, axis=1) for column_values in zip(*scored, strict=True)
    )
    meant = rows.mask(table) & np.isin(table.video_ids, np.fromiter(paths, np.int64))
    order, windows = _sorted(table, people, meant, manifest.spec.window_s)
    cosines = {
        leaf: similarity[column][order].astype(np.float64) for column, leaf in enumerate(queries)
    }
    absolute: dict[Leaf, Float64] = {
        leaf: probability[column][order].astype(np.float64)
        for column, leaf in enumerate(queries)
        if not isinstance(leaf, Like)
    }
    hits = {leaf: model.among(alone, len(paths)) for leaf, alone in absolute.items()}
    absolute = {leaf: model.moment(alone) for leaf, alone in absolute.items()}
    relative = {leaf: normalized(cosines[leaf], hits.get(leaf)) for leaf in queries}
    spoken = {leaf: _said(store, leaf, windows.ids) for leaf in says}
    named, both = {i: path for i, path in paths.items() if i in chosen}, {**relative, **absolute}
    return Comparison(windows, named, cosines | spoken, both | spoken, relative | spoken)


def _no_scores(queries: int) -> tuple[Float32, Float32]:
    nothing = np.empty((queries, 0), np.float32)
    return nothing, nothing


def pair_scores(
    store: LibraryStore, model: LibraryModel, ids: Int64, wanted: Iterable[Leaf]
) -> dict[Leaf, tuple[Float32, Float64]]:
    """Similarity and probability (N,) of each verb with an object, by a model that learned both.

    Args:
        store: Holds the contexts of the rows.
        model: Any model; of one that did not learn verbs and objects there is nothing.
        ids: (N,) row ids; where a row has no context, the pairs go by their phrases.
        wanted: The leaves, of which the pairs are scored.
    """
    pairs, score = [leaf for leaf in wanted if isinstance(leaf, Pair)], model.pair_scores
    if not pairs or score is None:
        return {}
    row_ids, contexts = store.contexts(ids.tolist())
    if len(row_ids) < len(ids):
        return {}
    order = np.argsort(row_ids)[np.searchsorted(np.sort(row_ids), ids)]
    return {leaf: score(contexts[order], (leaf.verb, leaf.object)) for leaf in pairs}


def _sorted(
    table: RowTable, people: Mapping[int, RowPerson], meant: Bool, base_s: float
) -> tuple[Int64, ScoredWindows]:
    """The rows of a mask (N,) by video, track and time: their places, and they themselves."""
    tracks = _tracks(table.ids, people)
    keys = (table.ends_s, table.starts_s, *(() if tracks is None else (tracks,)), table.video_ids)
    order = np.lexsort(keys)
    order = order[meant[order]]
    shown = None if tracks is None else tracks[order]
    return order, ScoredWindows(*table.where(order).columns, base_s, shown)


def _tracks(ids: Int64, people: Mapping[int, RowPerson]) -> Int64 | None:
    """(N,) whom each row shows; None where all are whole frames."""
    if not people:
        return None
    tracks = ((people[i].track if i in people else 0) for i in ids.tolist())
    return np.fromiter(tracks, np.int64, len(ids))


def _said(store: LibraryStore, leaf: Says, row_ids: Int64) -> Float64:
    """(N,) share of the words that the caption of each row has."""
    if not store.annotated(Caption):
        kind = leaf.kind if isinstance(leaf, Quote) else ""
        maker = {"says": "speech:FOLDER", "shows": "screen-text"}.get(kind, "concepts")
        raise QueryError(
            f"{show(leaf)}: the library keeps no captions; make some: vlar index add LIBRARY PATHS "
            f"--captions {maker}"
        )
    captions = store.captions()
    quoted = isinstance(leaf, Quote)
    shares = quoted_in(leaf.kind, leaf.text, captions) if quoted else said(leaf.text, captions)
    return np.array([shares.get(row_id, 0.0) for row_id in row_ids.tolist()])


def normalized(similarity: Float64, probability: Float64 | None) -> Float64:
    """(N,) how far each window stands out, 0 to 1.

    Args:
        similarity: (N,) cosines.
        probability: (N,) against everyday actions; None for a clip, which has no such background.
    """
    if len(similarity) < _FEWEST_WINDOWS:
        return similarity.clip(0.0, 1.0) if probability is None else probability
    spread = max(float(similarity.std()), _LEAST_SPREAD)
    return sigmoid((similarity - similarity.mean()) / spread - _MIDDLE)


def encode_leaves(
    wanted: Sequence[Leaf],
    model: LibraryModel,
    words: QueryWords | None = None,
    linked: LinkedVectors | None = None,
) -> dict[Leaf, Float32]:
    """The vector (D,) of each phrase, each clip and each picture; words of captions have none.

    Args:
        wanted: The leaves of a query.
        model: The library's model.
        words: Keeps the vectors of phrases for the next query; None encodes each.
        linked: Vectors of recordings of other sensors (``vlar.library.query.links``).

    Raises:
        DecodeError: a clip or a picture cannot be read.
        QueryError: a picture, and the model reads another sensor than video.
    """
    phrases = [leaf.text for leaf in wanted if isinstance(leaf, Phrase)]
    encode = model.encode_queries if words is None else words.of(model)
    vectors = iter(encode(phrases)) if phrases else iter(())
    queries: dict[Leaf, Float32] = {}
    for leaf in wanted:
        if isinstance(leaf, Like):
            vector = None if linked is None else linked(Path(leaf.path), leaf.window)
            if vector is None:
                vector = model.encode([_example(leaf, model)])[0].vector
            queries[leaf] = vector
        elif isinstance(leaf, Phrase):
            queries[leaf] = next(vectors)
    return queries


def _example(leaf: Like, model: LibraryModel) -> Clip:
    """The clip of a LIKE; a picture is a clip in which nothing moves."""
    path, sampling = Path(leaf.path), model.sampling
    if not leaf.is_picture:
        return reader(model.modality).read_clip(path, leaf.window, sampling)
    if model.modality != "video":
        raise QueryError(
            f"LIKE {leaf.path}: a picture cannot be compared with recordings of the sensor "
            f"{model.modality!r}; give a recording of it"
        )
    with errors_of(path):
        pixels = read_picture(path, sampling.shorter_side)
    still = Window(0.0, 1.0)
    times_s = sample_times(still, sampling)
    return Clip(path, still, "video", np.repeat(pixels[None], len(times_s), axis=0), times_s)


_HELD_BYTES = 24 << 20  # of the rows of a filter that are kept in memory
_SORTED = 256  # up to this number of rows, sorting all is fastest
_UNIT = 1.02  # squared length of a unit vector, after rounding


@dataclass(frozen=True)
class _Held:
    """N rows in memory as the store has them, all of them whole.

    Attributes:
        vectors: (N, D).
        rows: Path, start and end of each row; number and box of the person that it shows.
    """

    vectors: Float32
    rows: Sequence[tuple[tuple[str, float, float], tuple[int | None, Box | None]]]


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
        held = cache.held.keep(key, lambda: _read(store, engine.ids(allowed), cache.origin.dim))
        return _answer(held, query, squared, k)
    count = k
    while True:
        ids = engine.search(query, count, allowed)[0]
        held = _read(store, ids, cache.origin.dim)
        if len(held.rows) >= k or len(ids) < count:
            return _answer(held, query, squared, k)
        count *= 4  # some of the rows were damaged


def nearest_held(
    cache: SearchCache, version: int, vector: Float32, k: int, where: Where | None
) -> list[RowHit] | None:
    """The answer of ``nearest`` without a look at the store, where the rows are in memory.

    Args:
        cache: Cache of the present state.
        version: ``store.data_version()``.
        vector: As in ``nearest``.
        k: As in ``nearest``.
        where: As in ``nearest``.
    """
    held = cache.held.get(_held_key(version, where)) if where else None
    return _answer(held, *_query(cache, vector, k), k) if isinstance(held, _Held) else None


def _query(cache: SearchCache, vector: Float32, k: int) -> tuple[Float32, float]:
    """The vector as it is compared, and its squared length."""
    dim = cache.origin.dim
    if np.shape(vector) != (dim,):
        raise QueryError(f"a vector of shape {np.shape(vector)}; this library needs ({dim},)")
    if k < 1:
        raise QueryError(f"k is {k}; ask for at least 1 row")
    if getattr(vector, "dtype", None) != np.float32:
        with np.errstate(over="ignore", invalid="ignore"):  # such a vector is refused below
            vector = np.asarray(vector, np.float32)
    query = np.ascontiguousarray(vector)
    squared = float(np.vdot(query, query))  # warns of nothing, unlike ``dot``
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
    owned = [index for index, video_id in enumerate(owners) if video_id in paths]
    if len(owned) < len(owners):
        lost = set(rows.ids.tolist()).difference(rows.ids[owned].tolist())
        store.damaged.update(dict.fromkeys(lost, NO_RECORDING))
    vectors = rows.vectors if len(owned) == len(owners) else rows.vectors[owned]
    people = map(rows.people.get, rows.ids[owned].tolist())
    return _Held(
        vectors,
        [
            ((paths[owners[index]], *rows.spans[index]), (who and who.track, who and who.box))
            for index, who in zip(owned, people, strict=True)
        ],
    )


def _answer(held: _Held, query: Float32, squared: float, k: int) -> list[RowHit]:
    scores = held.vectors.dot(query)
    best = _best(scores, k)
    similarities = scores[best].tolist()
    if similarities and squared <= _UNIT and (similarities[0] > 1 or similarities[-1] < -1):
        similarities = [cosine(value) for value in similarities]
    rows, make = map(held.rows.__getitem__, best.tolist()), RowHit._make
    return [make((*of, value, *who)) for (of, who), value in zip(rows, similarities, strict=True)]


def _best(scores: Float32, k: int) -> Int64:
    """Places of the best ``k``; equal ones by id."""
    if len(scores) <= max(k, _SORTED):
        return (-scores).argsort(kind="stable")[:k]
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    places = np.flatnonzero(scores >= least)
    return places[(-scores[places]).argsort(kind="stable")[:k]]

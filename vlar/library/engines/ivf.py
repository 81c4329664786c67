"""Inverted lists: rows are grouped around centroids, and a query searches the nearest groups only.

The lists hold the float16 vectors of the store, so scores are exact, and narrow filters are
answered exactly from the lists. The file is mapped into memory, not read.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import Self

from vlar.library.engines.base import CacheDamage, Probes
from vlar.library.engines.faiss_cache import BufferedEngine, faiss_module, has_faiss, selector
from vlar.library.rows import Float16, Int64, RowSource, RowTable, Selection
from vlar.numeric import unit
from vlar.registry import register
from vlar.types import Float32, Float64

NEIGHBOURS = 10
# Asked of the held-out queries, with some standard errors to spare, so that others reach 0.99: a
# few texts are much harder than the rest, and a sample may hold none of them.
RECALL = 0.993
NEAR, FAR = 256, 768
_SURE = 2.0
_NOISE, _FAR_NOISE = 0.4, 0.6
_TIE = 2e-6  # rounding; equal rows (copies) count, rows that are only near do not
_STEPS = (*range(1, 16), *range(16, 64, 4), *range(64, 256, 16), *range(256, 2049, 64))


class Effort(NamedTuple):
    """The lists that a query searches, and the recall of each group of held-out queries."""

    nprobe: int
    near: float
    far: float


def held_out(rows: Float32, probes: Float32 | None, seed: int = 0) -> Float32:
    """Queries (Q, D): ``NEAR`` of the near group, then the far one (at most ``FAR``)."""
    draw = np.random.default_rng(seed)

    def moved(vectors: Float32, by: float) -> Float32:
        noise = draw.normal(size=vectors.shape)
        noise *= by / np.linalg.norm(noise, axis=1, keepdims=True)
        return unit(vectors + noise)

    one, other = (rows[draw.integers(0, len(rows), FAR)] for _ in range(2))
    if probes is None or not len(probes):
        far = moved(unit(one.astype(np.float64) + other), _FAR_NOISE)
    else:
        far = np.asarray(probes[draw.permutation(len(probes))[:FAR]], np.float32)
    return np.ascontiguousarray(np.concatenate([moved(one[:NEAR], _NOISE), far]), np.float32)


class ExactBest:
    """The best similarities of queries (Q, D) to rows that arrive chunk by chunk."""

    def __init__(self, queries: Float32) -> None:
        self.queries = queries
        self._best = np.full((len(queries), NEIGHBOURS), -np.inf, np.float32)
        self._places = np.full((len(queries), NEIGHBOURS), -1, np.int64)
        self._seen = 0

    def add(self, vectors: Float32 | Float16) -> None:
        """Compare with more rows (N, D)."""
        scores = self.queries @ vectors.astype(np.float32).T
        places = np.broadcast_to(self._seen + np.arange(len(vectors)), scores.shape)
        both = np.concatenate([self._best, scores], axis=1)
        keep = np.argpartition(-both, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
        self._best = np.take_along_axis(both, keep, axis=1)
        both_places = np.concatenate([self._places, places], axis=1)
        self._places = np.take_along_axis(both_places, keep, axis=1)
        self._seen += len(vectors)

    def found(self, places: Int64, scores: Float32, exact: bool) -> Float64:
        """(Q,) the share of the best ten rows that is among places (Q, k) with scores.

        Where the scores are ``exact``, a row as good as the tenth best counts as one of them.
        """
        least_rows = min(NEIGHBOURS, self._seen)
        if exact:
            least = self._best.min(axis=1, where=self._places >= 0, initial=2.0) - _TIE
            hits = (scores >= least[:, None]).sum(axis=1)
        else:
            hits = (self._places[:, :, None] == places[:, None]).any(axis=2).sum(axis=1)
        return hits.clip(max=least_rows) / least_rows


def effort(
    search: Callable[[int], tuple[Int64, Float32]], best: ExactBest, lists: int, exact: bool
) -> Effort:
    """The smallest number of lists that surely reaches ``RECALL`` on both groups.

    Args:
        search: For a number of lists: places and scores (Q, k) of what is proposed for ten rows.
        best: The exact answers, after all rows were added.
        lists: Number of lists; all are searched where fewer do not suffice.
        exact: Whether the scores are those of the stored vectors.
    """
    results: dict[int, Effort] = {}

    def enough(nprobe: int) -> bool:
        share = best.found(*search(nprobe), exact)
        near, far = share[:NEAR], share[NEAR:]
        results[nprobe] = Effort(nprobe, float(near.mean()), float(far.mean()))
        return min(_surely(near), _surely(far)) >= RECALL

    steps = [*(step for step in _STEPS if step < lists), lists]
    step = bisect.bisect_left(steps, True, hi=len(steps) - 1, key=enough)
    if steps[step] not in results:
        enough(steps[step])
    return results[steps[step]]


def _surely(found: Float64) -> float:
    return float(found.mean() - _SURE * found.std() / np.sqrt(len(found)))


_ROWS_A_CENTROID = 48  # of the training sample
_ROUNDS = 8
_COMPARED = 30_000  # a subset up to this size is compared row by row
_SCANNED = 250_000  # for a subset up to this size all lists are searched
_WIDER = 8  # times the lists, for a filter that leaves more
_DRIFTED = 2.0  # times the lists of the training
_GROWN = 4.0  # times the rows of the training


@register("engine", "ivf")
class IvfEngine(BufferedEngine):
    """4 sqrt(N) lists of float16 vectors (``IndexIVFScalarQuantizer``).

    ``facts``: ``lists``, ``nprobe`` (lists that a query searches), ``nprobe_trained`` (just after
    training), ``trained_rows``, and the recall@10 on held-out queries near to rows and far from
    them.

    Args:
        table: The rows (N,).
        index: The FAISS index.
        facts: As above.
        file: Its file as bytes, mapped into memory, where it has one.
    """

    name = "ivf"
    exact = False
    rows = (100_001, 4_000_000)
    why = "inverted lists of float16 vectors: exact search would take more than 10 ms"
    row_us = 150.0
    quantizer = "QT_fp16"

    def __init__(
        self, table: RowTable, index: Any, facts: Mapping[str, Any], file: Any | None = None
    ) -> None:
        super().__init__(table, index.d)
        self.facts = facts
        self.faiss_index = index
        self._file = file

    @classmethod
    def available(cls) -> bool:
        return has_faiss()

    @classmethod
    def build(cls, source: RowSource, probes: Probes | None) -> Self:
        faiss = faiss_module()
        lists = list_count(source.count)
        sample, aside = _samples(source, _ROWS_A_CENTROID * lists)
        coarse = faiss.IndexFlatIP(source.dim)
        kind = getattr(faiss.ScalarQuantizer, cls.quantizer)
        metric = faiss.METRIC_INNER_PRODUCT
        index: Any = faiss.IndexIVFScalarQuantizer(coarse, source.dim, lists, kind, metric, False)
        index.cp.niter, index.cp.spherical, index.cp.min_points_per_centroid = _ROUNDS, True, 1
        index.train(sample)
        exact = ExactBest(held_out(aside, probes and probes()))
        tables: list[RowTable] = []
        for table, vectors in source.chunks():
            index.add(vectors.astype(np.float32))
            exact.add(vectors)
            tables.append(table)
        facts = cls._measured(index, exact)
        trained = {"trained_rows": source.count, "nprobe_trained": facts["nprobe"]}
        return cls(RowTable.joined(tables), index, {**facts, **trained})

    def rebuilt(
        self,
        keep: Selection,
        vectors: Float16,
        table: RowTable,
        source: RowSource,
        probes: Probes | None,
    ) -> Self | None:
        """The rows of ``keep``, with new ones behind them; None where it must be trained again.

        It must be where the number of rows has changed so much that another number of lists fits,
        or where the lists have drifted: to keep the recall, a query would have to search more than
        twice as many lists as just after the training.
        """
        size = keep.count + len(vectors)
        if not 1 / _GROWN < size / self.facts["trained_rows"] < _GROWN:
            return None
        index = _without_rows(self.faiss_index)
        _copy(self.faiss_index, keep, index)
        if len(vectors):
            index.add_with_ids(vectors.astype(np.float32), np.arange(keep.count, size))
        exact = ExactBest(held_out(_samples(source, 0)[1], probes and probes()))
        for _, chunk in source.chunks():
            exact.add(chunk)
        facts = {**self.facts, **self._measured(index, exact)}
        drifted = facts["nprobe"] > _DRIFTED * facts["nprobe_trained"]
        return None if drifted else type(self)(table, index, facts)

    def find(self, query: Float32, k: int, allowed: Selection | None) -> tuple[Int64, Float32]:
        k = min(k, len(self.table()) if allowed is None else allowed.count)
        if k == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        if allowed is not None and allowed.count <= _COMPARED and self._file is not None:
            return self._compare_places(query, k, allowed.places)
        lists, nprobe = self.facts["lists"], self._effort(allowed)
        places, scores = self._probe(query[None], k, nprobe, allowed)
        if places[0, -1] < 0 and nprobe < lists:
            places, scores = self._probe(query[None], k, lists, allowed)
        has_neighbour = places[0] >= 0
        return places[0][has_neighbour], scores[0][has_neighbour]

    def write(self, path: Path) -> bool:
        faiss_module().write_index(self.faiss_index, str(path))
        return True

    @classmethod
    def read(cls, path: Path, facts: Mapping[str, Any], table: RowTable) -> Self | None:
        if not has_faiss():
            return None
        faiss = faiss_module()
        index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        # FAISS's threads that read lists ahead cost more than the search.
        faiss.downcast_InvertedLists(index.invlists).prefetch_nthread = 0
        return cls(table, index, facts, np.memmap(path, np.uint8, "r"))

    def _effort(self, allowed: Selection | None) -> int:
        """Lists to search: more where a filter leaves fewer rows in each."""
        nprobe, rows = int(self.facts["nprobe"]), len(self.table())
        if allowed is None or allowed.count >= 0.9 * rows:
            return nprobe
        if allowed.count <= _SCANNED:
            return int(self.facts["lists"])
        wider = int(np.ceil(_WIDER * nprobe * rows / allowed.count))
        return min(wider, int(self.facts["lists"]))

    def _probe(
        self, queries: Float32, k: int, nprobe: int, allowed: Selection | None
    ) -> tuple[Int64, Float32]:
        parameters = faiss_module().SearchParametersIVF(nprobe=nprobe, sel=selector(allowed))
        scores, places = self.faiss_index.search(queries, k, params=parameters)
        return places, scores

    def _compare_places(self, query: Float32, k: int, places: Int64) -> tuple[Int64, Float32]:
        """The best of a few places: their codes are gathered from the file and compared."""
        faiss = faiss_module()
        addresses, codes = self._codes
        kind, metric = self.faiss_index.sq.qtype, faiss.METRIC_INNER_PRODUCT
        few: Any = faiss.IndexScalarQuantizer(self.faiss_index.d, kind, metric)
        _copy_ranges(self.faiss_index.sq, few)
        few.add_sa_codes(codes[addresses[places]].view(np.uint8).reshape(len(places), -1))
        scores, ids = few.search(query[None], k)
        return places[ids[0]], scores[0]

    def stored(self, places: Int64, vectors: Float16) -> bool:
        if self._file is None:
            return True
        addresses, codes = self._codes
        wide = np.ascontiguousarray(vectors, np.float32)
        expected = self.faiss_index.sq.compute_codes(wide)
        held = codes[addresses[places]].view(np.uint8).reshape(expected.shape)
        return np.array_equal(held, expected)

    @classmethod
    def _measured(cls, index: Any, best: ExactBest) -> dict[str, Any]:
        faiss = faiss_module()
        proposed = cls.reach(NEIGHBOURS)

        def search(nprobe: int) -> tuple[Int64, Float32]:
            parameters = faiss.SearchParametersIVF(nprobe=nprobe)
            scores, places = index.search(best.queries, proposed, params=parameters)
            return places, scores

        chosen = effort(search, best, index.nlist, exact=proposed == NEIGHBOURS)
        return {
            "lists": index.nlist,
            "nprobe": chosen.nprobe,
            "recall_near": round(chosen.near, 4),
            "recall_far": round(chosen.far, 4),
        }

    @cached_property
    def _codes(self) -> tuple[Int64, Any]:
        """Offset in the file of each place's code, and the codes that begin at each byte."""
        faiss = faiss_module()
        lists: Any = faiss.downcast_InvertedLists(self.faiss_index.invlists)
        width = int(self.faiss_index.code_size)
        addresses = np.zeros(len(self.table()), np.int64)
        for number, places in _occupied(self.faiss_index):
            start = int(lists.lists.at(number).offset)
            addresses[places] = start + width * np.arange(len(places))
        count = len(self._file) - width + 1 if self._file is not None else 0
        return addresses, np.ndarray((count,), f"V{width}", self._file, strides=(1,))


def list_count(rows: int) -> int:
    """The power of two nearest to 4 sqrt(rows), if the rows suffice to train them.

    >>> list_count(1_000_000), list_count(100)
    (4096, 2)
    """
    count = 2 ** round(np.log2(4 * np.sqrt(max(rows, 1))))
    return int(max(min(count, rows // 39), 1))


def _samples(source: RowSource, size: int) -> tuple[Float32, Float32]:
    """Rows to train on, and others set aside to measure with (each at least one row)."""
    draw = np.random.default_rng(0)
    share, aside_share = size / source.count, 2 * FAR / source.count
    train: list[Float16] = []
    aside: list[Float16] = []
    for _, vectors in source.chunks():
        lot = draw.random(len(vectors))
        train.append(vectors[lot >= 1 - share])
        apart = lot < max(aside_share, 1 / len(vectors))
        apart[0] |= not apart.any()
        aside.append(vectors[apart])
    return np.concatenate(train).astype(np.float32), np.concatenate(aside).astype(np.float32)


def _occupied(index: Any) -> Iterator[tuple[int, Int64]]:
    """Each list that is not empty, with its places as they lie."""
    faiss = faiss_module()
    lists: Any = faiss.downcast_InvertedLists(index.invlists)
    for number in range(index.nlist):
        if size := lists.list_size(number):
            places = faiss.rev_swig_ptr(lists.get_ids(number), size)
            if places.min() < 0 or places.max() >= index.ntotal:
                raise CacheDamage(f"list {number} holds rows that the library lacks")
            yield number, places


def _without_rows(index: Any) -> Any:
    faiss = faiss_module()
    coarse: Any = faiss.clone_index(index.quantizer)
    kind, metric = index.sq.qtype, index.metric_type
    empty: Any = faiss.IndexIVFScalarQuantizer(coarse, index.d, index.nlist, kind, metric, False)
    _copy_ranges(index.sq, empty)
    return empty


def _copy_ranges(quantizer: Any, target: Any) -> None:
    faiss = faiss_module()
    faiss.copy_array_to_vector(faiss.vector_to_array(quantizer.trained), target.sq.trained)
    target.is_trained = True


def _copy(index: Any, keep: Selection, target: Any) -> None:
    """Put the kept rows into the lists of another index, with new numbers."""
    faiss = faiss_module()
    source: Any = faiss.downcast_InvertedLists(index.invlists)
    lists: Any = faiss.downcast_InvertedLists(target.invlists)
    numbers = np.cumsum(keep.mask) - 1
    width = index.code_size
    for number, places in _occupied(index):
        codes = faiss.rev_swig_ptr(source.get_codes(number), len(places) * width)
        mask = keep.mask[places]
        ids = np.ascontiguousarray(numbers[places[mask]])
        list_codes = np.ascontiguousarray(codes.reshape(-1, width)[mask])
        if len(ids):
            lists.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(list_codes))
    target.ntotal = keep.count


_PROPOSED, _AT_LEAST = 4, 32


@register("engine", "ivf-sq8")
class IvfSq8Engine(IvfEngine):
    """``IvfEngine`` with ``QT_8bit`` lists."""

    name = "ivf-sq8"
    rows = (4_000_001, None)
    why = "inverted lists of one byte a number, refined with the stored vectors: half the cache"
    quantizer = "QT_8bit"

    @staticmethod
    def reach(k: int) -> int:
        """Number of proposals that hold the best ``k`` rows by the stored vectors."""
        return max(_PROPOSED * k, k + _AT_LEAST)

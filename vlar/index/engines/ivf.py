"""Inverted lists: rows are grouped around centroids, a query looks into the nearest groups only.

The lists keep the float16 vectors of the truth, so scores are exact, and narrow filters are
answered exactly from the lists. The file is mapped into memory, not read.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vlar.index.protocol import Probes
from vlar.index.search_cache.tune_nprobe import FAR, NEIGHBOURS, ExactBest, effort, held_out
from vlar.index.store.database import Float16, Int64
from vlar.index.store.rows import RowSource, RowTable, Selection
from vlar.registry import register
from vlar.types import Float32

_ROWS_A_CENTROID = 48  # of the training sample
_ROUNDS = 8
_COMPARED = 30_000  # a subset up to this size is compared row by row
_SCANNED = 250_000  # up to this size all lists are looked into for it
_WIDER = 8  # times the lists, for a filter that leaves more
_DRIFTED = 2.0  # times the lists of the training
_GROWN = 4.0  # times the rows of the training


@register("engine", "ivf")
class IvfIndex:
    """4 sqrt(N) lists of float16 vectors (``IndexIVFScalarQuantizer``).

    ``facts``: ``lists``, ``nprobe`` (lists looked into), ``nprobe_trained`` (just after training),
    ``trained_rows``, and the recall@10 on held-out queries near to rows and far from them.
    """

    name = "ivf"
    exact = False
    rows = (100_001, 4_000_000)
    why = "inverted lists of float16 vectors: exact search would take more than 10 ms"
    quantizer = "QT_fp16"

    def __init__(self, index: Any, facts: Mapping[str, Any], file: Any | None = None) -> None:
        """Use ``build`` or ``read``. ``file`` is its file as bytes, mapped, where it has one."""
        self.facts = facts
        self.size = int(index.ntotal)
        self.faiss_index = index
        self._file = file

    @classmethod
    def build(cls, source: RowSource, probes: Probes | None) -> tuple[IvfIndex, RowTable]:
        """Train on a sample, add all rows, choose ``nprobe``."""
        faiss = _faiss()

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
            exact.see(vectors)
            tables.append(table)
        facts = cls._measured(index, exact)
        trained = {"trained_rows": source.count, "nprobe_trained": facts["nprobe"]}
        return cls(index, {**facts, **trained}), RowTable.joined(tables)

    def updated(
        self, keep: Selection, vectors: Float16, source: RowSource, probes: Probes | None
    ) -> IvfIndex | None:
        """The rows of ``keep``, with new ones behind them; None where it must be trained anew.

        That is where the rows have become so many or so few that other lists fit them, or where
        the lists have drifted: to keep the recall, more than twice as many would have to be looked
        into as just after the training.
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
            exact.see(chunk)
        facts = {**self.facts, **self._measured(index, exact)}
        drifted = facts["nprobe"] > _DRIFTED * facts["nprobe_trained"]
        return None if drifted else type(self)(index, facts)

    @staticmethod
    def reach(k: int) -> int:
        """How many rows hold the best ``k``: the scores are exact."""
        return k

    def search(self, query: Float32, k: int, allowed: Selection | None) -> tuple[Int64, Float32]:
        """Places and inner products of the best ``k`` rows, best first."""
        k = min(k, self.size if allowed is None else allowed.count)
        if k == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        if allowed is not None and allowed.count <= _COMPARED and self._file is not None:
            return self._compare(query, k, allowed.places)
        lists, nprobe = self.facts["lists"], self._effort(allowed)
        places, scores = self._probe(query[None], k, nprobe, allowed)
        if places[0, -1] < 0 and nprobe < lists:
            places, scores = self._probe(query[None], k, lists, allowed)
        found = places[0] >= 0
        return places[0][found], scores[0][found]

    def write(self, path: Path) -> bool:
        """Write the FAISS file."""
        faiss = _faiss()

        faiss.write_index(self.faiss_index, str(path))
        return True

    @classmethod
    def read(cls, path: Path, facts: Mapping[str, Any]) -> IvfIndex | None:
        """Map the FAISS file into memory; None where it does not fit."""
        faiss = _faiss()

        index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        if not isinstance(index, faiss.IndexIVFScalarQuantizer) or index.nlist != facts["lists"]:
            return None
        # Its threads that read ahead cost more than the search.
        faiss.downcast_InvertedLists(index.invlists).prefetch_nthread = 0
        return cls(index, facts, np.memmap(path, np.uint8, "r"))

    # Inside ------------------------------------------------------------------------------------

    def _effort(self, allowed: Selection | None) -> int:
        """Lists to look into: more where a filter leaves fewer rows in each."""
        nprobe = int(self.facts["nprobe"])
        if allowed is None or allowed.count >= 0.9 * self.size:
            return nprobe
        if allowed.count <= _SCANNED:
            return int(self.facts["lists"])
        wider = int(np.ceil(_WIDER * nprobe * self.size / allowed.count))
        return min(wider, int(self.facts["lists"]))

    def _probe(
        self, queries: Float32, k: int, nprobe: int, allowed: Selection | None
    ) -> tuple[Int64, Float32]:
        faiss = _faiss()

        selector = None if allowed is None else allowed.selector
        parameters = faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)
        scores, places = self.faiss_index.search(queries, k, params=parameters)
        return places, scores

    def _compare(self, query: Float32, k: int, places: Int64) -> tuple[Int64, Float32]:
        """The best of a few places: their codes are gathered from the file and compared."""
        faiss = _faiss()

        addresses, codes = self._codes
        kind, metric = self.faiss_index.sq.qtype, faiss.METRIC_INNER_PRODUCT
        few: Any = faiss.IndexScalarQuantizer(self.faiss_index.d, kind, metric)
        _copy_ranges(self.faiss_index.sq, few)
        few.add_sa_codes(codes[addresses[places]].view(np.uint8).reshape(len(places), -1))
        scores, found = few.search(query[None], k)
        return places[found[0]], scores[0]

    @classmethod
    def _measured(cls, index: Any, best: ExactBest) -> dict[str, Any]:
        faiss = _faiss()
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
        """Where in the file each place's code begins, and the codes that begin at each byte."""
        faiss = _faiss()

        lists: Any = faiss.downcast_InvertedLists(self.faiss_index.invlists)
        width = int(self.faiss_index.code_size)
        addresses = np.empty(self.size, np.int64)
        for number, places in _occupied(self.faiss_index):
            start = int(lists.lists.at(number).offset)
            addresses[places] = start + width * np.arange(len(places))
        count = len(self._file) - width + 1 if self._file is not None else 0
        return addresses, np.ndarray((count,), f"V{width}", self._file, strides=(1,))


def _faiss() -> Any:
    # Its stubs do not know what its Python layer adds.
    return importlib.import_module("faiss")


def list_count(rows: int) -> int:
    """The power of two nearest to 4 sqrt(rows), where so many can be trained.

    >>> list_count(1_000_000), list_count(100)
    (4096, 2)
    """
    wanted = 2 ** round(np.log2(4 * np.sqrt(max(rows, 1))))
    return int(max(min(wanted, rows // 39), 1))


def _samples(source: RowSource, size: int) -> tuple[Float32, Float32]:
    """Rows to train on, and others set aside to measure with (each at least one row)."""
    draw = np.random.default_rng(0)
    share, aside_share = size / source.count, 2 * FAR / source.count
    train: list[Float16] = []
    aside: list[Float16] = []
    for _, vectors in source.chunks():
        lot = draw.random(len(vectors))
        train.append(vectors[lot >= 1 - share])
        aside.append(vectors[lot < max(aside_share, 1 / len(vectors))])
    return np.concatenate(train).astype(np.float32), np.concatenate(aside).astype(np.float32)


def _occupied(index: Any) -> Iterator[tuple[int, Int64]]:
    """Each list that is not empty, with its places as they lie."""
    faiss = _faiss()

    lists: Any = faiss.downcast_InvertedLists(index.invlists)
    for number in range(index.nlist):
        if size := lists.list_size(number):
            yield number, faiss.rev_swig_ptr(lists.get_ids(number), size)


def _without_rows(index: Any) -> Any:
    faiss = _faiss()

    coarse: Any = faiss.clone_index(index.quantizer)
    kind, metric = index.sq.qtype, index.metric_type
    empty: Any = faiss.IndexIVFScalarQuantizer(coarse, index.d, index.nlist, kind, metric, False)
    _copy_ranges(index.sq, empty)
    return empty


def _copy_ranges(quantizer: Any, target: Any) -> None:
    faiss = _faiss()

    faiss.copy_array_to_vector(faiss.vector_to_array(quantizer.trained), target.sq.trained)
    target.is_trained = True


def _copy(index: Any, keep: Selection, target: Any) -> None:
    """Put the kept rows into the lists of another index, numbered anew."""
    faiss = _faiss()

    source: Any = faiss.downcast_InvertedLists(index.invlists)
    lists: Any = faiss.downcast_InvertedLists(target.invlists)
    numbers = np.cumsum(keep.mask) - 1
    width = index.code_size
    for number, places in _occupied(index):
        codes = faiss.rev_swig_ptr(source.get_codes(number), len(places) * width)
        kept = keep.mask[places]
        ids = np.ascontiguousarray(numbers[places[kept]])
        left = np.ascontiguousarray(codes.reshape(-1, width)[kept])
        if len(ids):
            lists.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(left))
    target.ntotal = keep.count

"""An engine over an index that cannot change in place.

Adds and deletes are visible at once: rows that the index lacks are compared one by one, and rows
that are gone are masked during the search. When many changes wait, the search cache merges them
(``vlar.library.cache``).
"""

from __future__ import annotations

import importlib
import importlib.util
from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import Self

from vlar.errors import UsageError
from vlar.files.recent import Recent
from vlar.library.engines.base import CacheDamage, Engine, Probes
from vlar.library.rows import Float16, Int64, RowFilter, RowSource, RowTable, Selection
from vlar.types import Float32

_KEPT_FILTERS = 4


class _Filtered(NamedTuple):
    """The rows that pass a filter: places of the index, and places of the added rows."""

    old: Selection
    new: Selection


class BufferedEngine(Engine):
    """N rows in an index, M added rows next to it, and a mask of deleted rows.

    A subclass searches the index by place, 0 to N - 1 (``find``), and builds a new index from the
    rows that are left (``rebuilt``).
    """

    def __init__(self, table: RowTable, dim: int) -> None:
        self._table = table
        self._dead = np.zeros(len(table), np.bool_)
        self._new = RowTable.empty()
        self._new_vectors = np.empty((0, dim), np.float32)
        self._last_id = int(table.ids[-1]) if len(table) else 0
        self._filters = Recent(_KEPT_FILTERS)
        self._alive: Selection | None = None  # None: none is deleted
        self.accelerator: GpuCopy | None = None

    # What a subclass does -----------------------------------------------------------------------

    @abstractmethod
    def find(self, query: Float32, k: int, allowed: Selection | None) -> tuple[Int64, Float32]:
        """Places and scores of the best ``k`` rows of the index among ``allowed``, best first."""

    @abstractmethod
    def rebuilt(
        self,
        keep: Selection,
        vectors: Float16,
        table: RowTable,
        source: RowSource,
        probes: Probes | None,
    ) -> Self | None:
        """A new engine of the places in ``keep`` with new vectors (M, D) behind them.

        Args:
            keep: Places of the index that are left.
            vectors: Vectors of the added rows.
            table: All rows of the new engine.
            source: The same rows with their vectors.
            probes: Text vectors to measure with.

        Returns:
            None where it should be trained again instead.
        """

    def stored(self, places: Int64, vectors: Float16) -> bool:
        """Return whether the index has vectors (M, D) at places; for ``verify``."""
        return True

    def vectors_at(self, places: Int64) -> Float32 | None:
        """Vectors (M, D) at places of the index as they are stored; None where it lacks them."""
        return None

    @staticmethod
    def reach(k: int) -> int:
        """Number of proposals that hold the best ``k`` rows; ``k`` where scores are exact."""
        return k

    # The contract -------------------------------------------------------------------------------

    def add(self, table: RowTable, vectors: Float16) -> None:
        if not len(table):
            return
        self._new = RowTable.joined([self._new, table])
        self._new_vectors = np.concatenate([self._new_vectors, vectors.astype(np.float32)])
        self._last_id = int(table.ids[-1])
        self._filters.clear()

    def delete(self, ids: Int64) -> None:
        if not len(ids):
            return
        places = np.searchsorted(self._table.ids, ids)
        inside = places < len(self._table)
        places, sought = places[inside], ids[inside]
        self._dead[places[self._table.ids[places] == sought]] = True
        keep = ~np.isin(self._new.ids, ids)
        self._new, self._new_vectors = self._new.where(keep), self._new_vectors[keep]
        self._alive = Selection(~self._dead)
        self._filters.clear()

    def search(
        self, query: Float32, k: int, allowed: RowFilter | None = None
    ) -> tuple[Int64, Float32]:
        old, added = (self._alive, None) if allowed is None else self._filtered(allowed)
        k = self.reach(k)
        places, scores = self._find(query, k, old)
        if len(places) and not 0 <= places.min() <= places.max() < len(self._table):
            raise CacheDamage("the index proposes rows that it lacks")
        ids = self._table.ids[places]
        if not len(self._new):
            return ids, scores
        new, new_scores = self._compare(query, k, added)
        both = np.concatenate([scores, new_scores])
        order = np.argsort(-both, kind="stable")[:k]
        return np.concatenate([ids, self._new.ids[new]])[order], both[order]

    def ids(self, allowed: RowFilter | None = None) -> Int64:
        if allowed is None:
            return np.concatenate([self._table.ids[~self._dead], self._new.ids])
        chosen = self._filtered(allowed)
        return np.concatenate([self._table.ids[chosen.old.places], self._new.ids[chosen.new.mask]])

    def held_rows(self, ids: Int64) -> tuple[RowTable, Float32] | None:
        places, later = _places(self._table.ids, ids), _places(self._new.ids, ids)
        if len(places) + len(later) < len(ids) or self._dead[places].any():
            return None
        if (vectors := self.vectors_at(places)) is None or not len(later):
            return None if vectors is None else (self._table.where(places), vectors)
        table = RowTable.joined([self._table.where(places), self._new.where(later)])
        return table, np.concatenate([vectors, self._new_vectors[later]])

    def count(self, allowed: RowFilter | None = None) -> int:
        if allowed is not None:
            return sum(part.count for part in self._filtered(allowed))
        return len(self._table) - self.deleted + len(self._new)

    @property
    def last_id(self) -> int:
        return self._last_id

    @property
    def added(self) -> int:
        return len(self._new)

    @property
    def deleted(self) -> int:
        return 0 if self._alive is None else len(self._table) - self._alive.count

    def merged(self, source: RowSource, probes: Probes | None) -> Self | None:
        alive = self._alive or Selection(np.ones(len(self._table), np.bool_))
        table = RowTable.joined([self._table.where(alive.mask), self._new])
        vectors = self._new_vectors.astype(np.float16)
        return self.rebuilt(alive, vectors, table, source, probes)

    def table(self) -> RowTable:
        return self._table

    @property
    def dim(self) -> int:
        """D, width of a vector."""
        return self._new_vectors.shape[1]

    def holds(self, source: RowSource) -> bool:
        for table, vectors in source.chunks():
            places = np.searchsorted(self._table.ids, table.ids)
            old = places < len(self._table)
            old[old] = self._table.ids[places[old]] == table.ids[old]
            table_rows = self._table.where(places[old])
            if not _equal(table_rows, table.where(old)) or not self.stored(
                places[old], vectors[old]
            ):
                return False
            is_new = np.isin(self._new.ids, table.ids)
            if not _equal(self._new.where(is_new), table.where(~old)):
                return False
        return True

    # Inside -------------------------------------------------------------------------------------

    def _find(self, query: Float32, k: int, allowed: Selection | None) -> tuple[Int64, Float32]:
        proposal = None
        if self.accelerator is not None and allowed is None:
            proposal = self.accelerator.propose(query, k)
        return self.find(query, k, allowed) if proposal is None else proposal

    def _compare(self, query: Float32, k: int, allowed: Selection | None) -> tuple[Int64, Float32]:
        vectors = self._new_vectors if allowed is None else self._new_vectors[allowed.mask]
        scores = vectors @ query
        best = np.argpartition(-scores, k)[:k] if len(scores) > k else np.arange(len(scores))
        return best if allowed is None else allowed.places[best], scores[best]

    def _filtered(self, allowed: RowFilter) -> _Filtered:
        """The rows that pass; the last few filters are kept, since users repeat them."""

        def filtered() -> _Filtered:
            old = allowed.mask(self._table) & ~self._dead
            return _Filtered(Selection(old), Selection(allowed.mask(self._new)))

        return self._filters.keep(allowed, filtered)


def _places(rising: Int64, ids: Int64) -> Int64:
    """Places of those of some ids that are among others; both rise."""
    places = np.searchsorted(rising, ids)
    places, ids = places[places < len(rising)], ids[places < len(rising)]
    return places[rising[places] == ids]


def _equal(some: RowTable, others: RowTable) -> bool:
    pairs = zip(some.columns, others.columns, strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


DEVICES = ("cpu", "cuda")
_MOST = 2048  # answers and lists that FAISS's GPU search takes


def has_faiss() -> bool:
    """Return whether FAISS is installed; it is not imported."""
    try:
        return importlib.util.find_spec("faiss") is not None
    except ValueError:  # a test removed it from sys.modules
        return False


def faiss_module() -> Any:
    """The module ``faiss``; its stubs lack what its Python layer adds."""
    return importlib.import_module("faiss")


def selector(selection: Selection | None) -> Any | None:
    """A selection of places for FAISS, which keeps a pointer into it; None for all places."""
    return None if selection is None else faiss_module().IDSelectorBitmap(selection.bits)


class GpuCopy:
    """A copy of an index on the GPU."""

    def __init__(self, copy: Any, size: int, lists: int) -> None:
        self._copy, self._size, self._lists = copy, size, lists

    def propose(self, query: Float32, k: int) -> tuple[Int64, Float32] | None:
        """Places and scores of the best ``k`` rows; None where the GPU cannot answer."""
        if not 0 < k <= min(_MOST, self._size) or self._lists > _MOST:
            return None
        scores, places = self._copy.search(query[None], k)
        return None if places[0, -1] < 0 else (places[0], scores[0])


def check_device(device: str) -> str:
    """The search device, if it is available.

    Raises:
        UsageError: unknown, or FAISS finds no GPU.
    """
    if device not in DEVICES:
        raise UsageError(f"no search device is called {device!r}; known: {', '.join(DEVICES)}")
    if device == "cuda" and not _gpus():
        raise UsageError(
            "device='cuda': the installed FAISS finds no GPU; install faiss-gpu in place of "
            "faiss-cpu on a machine with one, or leave --device out"
        )
    return device


def accelerate(engine: Engine, device: str) -> None:
    """Copy the index of an engine to a device, where it is not there yet."""
    index = getattr(engine, "faiss_index", None)
    if device == "cpu" or index is None or not isinstance(engine, BufferedEngine):
        return
    if engine.accelerator is None:
        faiss = faiss_module()
        copy = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
        lists = int(engine.facts.get("nprobe", 1))
        if "nprobe" in engine.facts:
            copy.nprobe = lists
        engine.accelerator = GpuCopy(copy, len(engine.table()), lists)


def _gpus() -> int:
    try:
        faiss = faiss_module()
    except ImportError:
        return 0
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0

"""A search index on a GPU, where the installed FAISS is built for one (faiss-gpu).

Only searches of all rows run there: FAISS's GPU indexes take no selection, so filters and dead rows
are searched on the CPU. Answers are the same: similarities are computed again from the truth.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlar.errors import UsageError
from vlar.index.protocol import AnnIndex, Probes
from vlar.index.search_cache.cache import Cached
from vlar.index.search_cache.snapshot import View
from vlar.index.store.database import Float16, Int64
from vlar.index.store.rows import RowSource, RowTable, Selection
from vlar.types import Float32

DEVICES = ("cpu", "cuda")
_MOST = 2048  # answers and lists that FAISS's GPU search takes


class OnGpu:
    """An index of which a copy lies on the GPU; in all else it is the index."""

    def __init__(self, index: AnnIndex, copy: Any) -> None:
        self._index, self._copy = index, copy
        self.name, self.exact, self.rows, self.why = index.name, index.exact, index.rows, index.why
        self.size, self.facts = index.size, index.facts

    @classmethod
    def build(cls, source: RowSource, probes: Probes | None) -> tuple[AnnIndex, RowTable]:
        """Not made so: an index is built on the CPU and copied."""
        raise NotImplementedError

    def updated(
        self, keep: Selection, vectors: Float16, source: RowSource, probes: Probes | None
    ) -> AnnIndex | None:
        """As the index; the result is not on the GPU yet."""
        return self._index.updated(keep, vectors, source, probes)

    def reach(self, k: int) -> int:
        """As the index."""
        return self._index.reach(k)

    def search(self, query: Float32, k: int, allowed: Selection | None) -> tuple[Int64, Float32]:
        """Places and scores of the best ``k`` rows, best first."""
        lists = int(self.facts.get("nprobe", 1))
        if allowed is not None or not 0 < k <= min(_MOST, self.size) or lists > _MOST:
            return self._index.search(query, k, allowed)
        scores, places = self._copy.search(query[None], k)
        if places[0, -1] < 0:
            return self._index.search(query, k, None)
        return places[0], scores[0]

    def write(self, path: Path) -> bool:
        """As the index."""
        return self._index.write(path)

    @classmethod
    def read(cls, path: Path, facts: Mapping[str, Any]) -> AnnIndex | None:
        """Not kept so."""
        raise NotImplementedError


def check_device(device: str) -> str:
    """The device, where it is there.

    Raises:
        UsageError: unknown, or FAISS finds no GPU.
    """
    if device not in DEVICES:
        raise UsageError(f"no search device is called {device!r}; known: {', '.join(DEVICES)}")
    if device == "cuda" and not _gpus():
        raise UsageError(
            "--device cuda: the installed FAISS finds no GPU; install faiss-gpu in place of "
            "faiss-cpu on a machine with one, or leave --device out"
        )
    return device


def on_device(cached: Cached, device: str) -> Cached:
    """A state whose index lies on the device; itself where it does already."""
    view = cached.index
    index = getattr(view.base, "faiss_index", None)
    if device == "cpu" or index is None:
        return cached
    faiss: Any = importlib.import_module("faiss")
    copy = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    if "nprobe" in view.base.facts:
        copy.nprobe = int(view.base.facts["nprobe"])
    moved = View(OnGpu(view.base, copy), view.table, view.dead, view.newer, view.newer_vectors)
    return Cached(moved, cached.origin, cached.made_at)


def _gpus() -> int:
    try:
        faiss: Any = importlib.import_module("faiss")
    except ImportError:
        return 0
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0

"""FAISS, where it is installed: selections of rows for it, and a copy of an index on a GPU.

Only searches of all rows run on a GPU: FAISS's GPU indexes take no selection, so filtered searches
and libraries with deleted rows use the CPU. Answers are equal: similarities are computed again from
the stored vectors.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from vlar.errors import UsageError
from vlar.index.engines.base import Engine
from vlar.index.rows import Int64, Selection
from vlar.index.search_cache.buffered import BufferedEngine
from vlar.types import Float32

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
    """A copy of an index on the GPU.

    Args:
        copy: The FAISS index on the GPU.
        size: N.
        lists: Lists that a query searches.
    """

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
            "--device cuda: the installed FAISS finds no GPU; install faiss-gpu in place of "
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

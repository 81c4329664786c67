"""Clips that several processes read together: each reads its share and is sent the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vlar.fewshot.support import SupportItem
from vlar.model.core import ModelCore
from vlar.model.examples import FeatureCache, read_examples
from vlar.training.data import ClipLoader, FeatureLoader, LoadedClips
from vlar.training.processes import Processes
from vlar.types import ProgressCallback

_CHUNK = 64  # clips whose features are in memory at a time


def load_shared(
    processes: Processes, loader: ClipLoader, rows: Sequence[int], *how: Any
) -> LoadedClips:
    """``ClipLoader.load``; recordings are read by one process each, features by all.

    Args:
        processes: Who reads.
        loader: Reads the clips; clips that another process could not read fail here too.
        rows: Their numbers.
        how: Further arguments of ``load``.
    """
    if processes.alone or isinstance(loader, FeatureLoader):
        return loader.load(rows, *how)
    before = set(loader.failed)
    own = loader.load(processes.own(rows), *how)
    new = {row: loader.failed[row] for row in loader.failed if row not in before}
    told = processes.objects((own.rows, new, _shapes(own)))
    for _, failed, _ in told:
        loader.failed.update(failed)
    read = [row for part, _, _ in told for row in part]
    shapes = next((shape for part, _, shape in told if part), {})
    if not read:
        return LoadedClips(read, torch.zeros(0))
    sizes = [len(part) for part, _, _ in told]
    tensors = {
        name: processes.gathered(_rows(own, name, shape), sizes) for name, shape in shapes.items()
    }
    return LoadedClips(read, tensors.pop(""), tensors)


def _shapes(loaded: LoadedClips) -> dict[str, tuple[int, ...]]:
    """Shape of a clip by name of the view; the inputs are the view without a name."""
    views = {"": loaded.inputs, **loaded.views}
    return {name: tuple(tensor.shape[1:]) for name, tensor in views.items()}


def _rows(loaded: LoadedClips, name: str, shape: Sequence[int]) -> Tensor:
    if not loaded.rows:
        return torch.zeros(0, *shape)
    return loaded.views[name] if name else loaded.inputs


def fill_cache(
    processes: Processes,
    core: ModelCore,
    items: Sequence[SupportItem],
    cache: FeatureCache | None,
    progress: ProgressCallback | None = None,
) -> None:
    """Encode this process's share of the recordings into a cache, and wait for the other processes.

    Nothing happens in a training of one process. A recording that cannot be read is left to the
    reading that follows, which reports it.

    Args:
        processes: Who encodes.
        core: What encodes.
        items: All recordings.
        cache: Where the features go.
        progress: Called as they are read.
    """
    if processes.alone or cache is None:
        return
    own = items[processes.rank :: processes.count]
    if progress is not None:
        progress(0, total=len(own))

    def counted(count: int = 0, total: int | None = None) -> None:
        if progress is not None and total is None:
            progress(count)

    for start in range(0, len(own), _CHUNK):
        read_examples(core, own[start : start + _CHUNK], counted, cache)
    processes.wait()

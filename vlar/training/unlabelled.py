"""Unlabelled clips as an objective sees them before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlar.adapters.trainable import Trainable, TrainingBatch
from vlar.errors import TrainingError, UsageError
from vlar.training.batches import Unlabelled
from vlar.training.data import ClipLoader
from vlar.training.hyperparameters import Hyperparameters
from vlar.training.objectives.base import UnlabelledClips
from vlar.types import Float32


def unlabelled_clips(
    method: Trainable, classes: Any, clips: Unlabelled, numbers: Hyperparameters
) -> UnlabelledClips:
    """What an objective is given of the unlabelled clips.

    Args:
        method: The adapter as it is now.
        classes: Its ``training_classes``.
        clips: The clips.
        numbers: The hyperparameters; their changes of clips are left out.
    """
    paths = clips.loader.paths or [Path(f"clip {row}") for row in range(clips.count)]

    def vectors() -> tuple[Float32, list[int]]:
        return clip_vectors(method, classes, clips.loader, range(clips.count), numbers)

    return UnlabelledClips(paths, vectors)


def clip_vectors(
    method: Trainable,
    classes: Any,
    loader: ClipLoader,
    rows: Sequence[int],
    numbers: Hyperparameters,
) -> tuple[Float32, list[int]]:
    """Vectors (n, D) of the clips that can be read, as in use, and their numbers.

    Raises:
        UsageError: the method has no vectors of clips.
        TrainingError: no clip can be read.
    """
    still, size = replace(numbers, augment=False), numbers.micro_batch or numbers.batch
    device = next(p for _, p in method.trainable()).device
    found: list[Tensor] = []
    read: list[int] = []
    for start in range(0, len(rows), size):
        loaded = loader.load(rows[start : start + size], still, 0, 0)
        if not loaded.rows:
            continue
        targets = torch.zeros(len(loaded.rows), 1, device=device)
        batch = TrainingBatch(loaded.inputs.to(device), targets, known=targets[:, 0].bool())
        with torch.no_grad():
            vectors = method.training_step(batch, classes).vectors
        if vectors is None:
            raise UsageError("the method has no vectors of clips; train another, such as temporal")
        found.append(vectors.float().cpu())
        read += loaded.rows
    if not read:
        first = next(iter(loader.failed.values()))
        raise TrainingError(f"no unlabelled clip can be read ({first.message})")
    return torch.cat(found).numpy(), read

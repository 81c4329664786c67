"""Checkpoints: the state of a training on disk; a stop at any moment loses no older one.

A checkpoint is one file of tensors and numbers. It is written to a temporary file and renamed; the
previous one stays until the new one is complete. Only data is unpickled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vlar.errors import TrainingError, explained
from vlar.files.replacing import replacing
from vlar.types import Failure

_NAME = re.compile(r"step-(\d+)\.pt")
_N_NEWEST = 2


@dataclass(frozen=True)
class CheckpointConfig:
    """Folder and frequency of checkpoints.

    Attributes:
        folder: The checkpoint directory; an existing training in it is resumed.
        key: Identifies the training; checkpoints with another key are refused.
        every: Steps between two checkpoints; 0 means the end of every epoch.
    """

    folder: Path
    key: str = ""
    every: int = 0


def save(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write a checkpoint, complete or not at all; all but the newest two are removed.

    Raises:
        TrainingError: the folder cannot be written.
    """
    fix = "the previous one stays: make room and run the same command again"
    with explained(TrainingError, f"cannot write a checkpoint to {folder}", fix):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / f"step-{step:08d}.pt") as part, part.open("wb") as stream:
            try:
                torch.save(state, stream)
            except RuntimeError as error:  # torch's writer, on a disk that is full
                raise OSError("torch could not write its file") from error
        for old in _found(folder)[:-_N_NEWEST]:
            old.unlink(missing_ok=True)


def load(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that can be read; None where there is none.

    Raises:
        TrainingError: there are checkpoints, but none can be read.
    """
    files = _found(folder)
    for file in reversed(files):
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, the previous one may be complete
            continue
    if files:
        raise TrainingError(f"no checkpoint in {folder} can be read; remove it to start over")
    return None


def written(failed: Mapping[int, Failure]) -> dict[int, tuple[str, str, str]]:
    """Clips that could not be read, as a checkpoint holds them."""
    return {row: (str(one.path), one.kind, one.message) for row, one in dict(failed).items()}


def read(rows: Mapping[int, Sequence[str]]) -> dict[int, Failure]:
    """Failures from the rows of ``written``."""
    return {
        int(row): Failure(Path(path), kind, message) for row, (path, kind, message) in rows.items()
    }


def _found(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))

"""The state of a training on disk, written so that a stop at any moment loses nothing older.

A checkpoint is one file of tensors and numbers. It is written beside its place and renamed, and the
one before is kept until the new one is complete. Nothing is unpickled but data.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import torch

from vlar.errors import TrainingError

_NAME = re.compile(r"step-(\d+)\.pt")
_KEPT = 2


def save(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write a checkpoint, complete or not at all; all but the newest two are removed.

    Raises:
        TrainingError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".step-")
        try:
            with os.fdopen(handle, "wb") as stream:
                torch.save(state, stream)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).replace(folder / f"step-{step:08d}.pt")
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
        for old in _found(folder)[:-_KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise TrainingError(
            f"cannot write a checkpoint to {folder}: {error.strerror or error}; the training up to "
            "the one before is kept: make room and run the same command again"
        ) from error


def load(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that can be read; None where there is none.

    Raises:
        TrainingError: there are checkpoints, but none can be read.
    """
    files = _found(folder)
    for file in reversed(files):
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, the one before may be whole
            continue
    if files:
        raise TrainingError(f"no checkpoint in {folder} can be read; remove it to start anew")
    return None


def remove(folder: Path) -> None:
    """Remove the checkpoints, and the folder if nothing else is in it."""
    for file in (*_found(folder), *folder.glob(".step-*")):
        file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _found(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))

"""Batches that fit into the memory of an accelerator: found by trying, and kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from vlar.errors import ModelError, UsageError

T = TypeVar("T")
FRAMES, CLIPS = "frames", "training clips"
_log = logging.getLogger("vlar")
_fitting: dict[str, int] = {}  # most units at a time in this process, by their name


def set_batch(frames: int) -> None:
    """Set the frames that an accelerator takes at a time; where memory runs out they are halved.

    Raises:
        UsageError: fewer than one.
    """
    if frames < 1:
        raise UsageError(f"a batch has at least 1 frame, got {frames}; leave it out for the usual")
    _fitting[FRAMES] = frames


def fitting(unit: str, usual: int) -> int:
    """Units at a time: the number that is set or has fitted, else the usual one."""
    return _fitting.get(unit, usual)


def halve(unit: str, count: int) -> None:
    """Keep half of the units that did not fit for the rest of the process, and log it."""
    _fitting[unit] = count // 2
    _log.warning("out of memory with %d %s at a time: %d from now on", count, unit, count // 2)


def in_parts(
    run: Callable[[Any], T], rows: Any, unit: str, name: str, units_per_row: int = 1
) -> Iterator[T]:
    """Results of the parts of a batch, which are halved where memory runs out.

    Args:
        run: Takes some of the rows.
        rows: A batch: a tensor, an array or a list.
        unit: What is counted: ``frames`` or ``texts``.
        name: The encoder, for the message.
        units_per_row: Units in each row, such as the frames of a clip.

    Raises:
        ModelError: a single row does not fit.
    """
    import torch

    start = 0
    while start < len(rows):
        size = min(max(1, fitting(unit, len(rows) * units_per_row) // units_per_row), len(rows))
        try:
            output = run(rows[start : start + size])
        except torch.OutOfMemoryError as error:
            size = min(size, len(rows) - start)
            if size == 1:
                raise ModelError(
                    f"{name} runs out of memory with {units_per_row} {unit} at a time; use bf16 "
                    "(--dtype bf16), a smaller model, fewer frames, or --device cpu"
                ) from error
            halve(unit, size * units_per_row)
        else:
            yield output
            start += size

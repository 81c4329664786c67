"""Parts of near or far joints by near or far frames, as SkateFormer cuts a clip.

Letters: N clips, C channels, T frames, V joints, P parts of t frames and v joints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vlar.errors import UsageError
from vlar.registry import unknown_name


def partition(x: Tensor, joints: str, frames: str, *, size: tuple[int, int]) -> Tensor:
    """Parts (N, P, C, t, v) of x (N, C, T, V); blocks of frames are the outer order.

    Args:
        x: What is cut.
        joints: ``near`` takes runs of joints, ``far`` joints at even strides.
        frames: The same of frames.
        size: t and v, divisors of T and V.

    Raises:
        UsageError: a size does not divide.
        UnknownNameError: a kind is neither ``near`` nor ``far``.
    """
    _check(joints, frames, size, (x.shape[2], x.shape[3]))
    (t, v), (n, c, frames_, joints_) = size, x.shape
    rows = (frames_ // t, t) if frames == "near" else (t, frames_ // t)
    columns = (joints_ // v, v) if joints == "near" else (v, joints_ // v)
    cut = x.reshape(n, c, *rows, *columns).permute(0, *_places(joints, frames))
    return cut.reshape(n, -1, c, t, v)


def restore(parts: Tensor, joints: str, frames: str, *, shape: Sequence[int]) -> Tensor:
    """Inverse of ``partition``: parts (N, P, C, t, v) to x (N, C, T, V).

    ``shape`` is that of x, or its last entries, T and V.

    Raises:
        UsageError: the shape does not fit the parts.
    """
    n, count, c, t, v = parts.shape
    rows, columns = shape[-2:]
    _check(joints, frames, (t, v), (rows, columns))
    if count * t * v != rows * columns:
        raise UsageError(f"{count} parts of {t} x {v} do not make {rows} x {columns}")
    cut = parts.reshape(n, rows // t, columns // v, c, t, v)
    order = torch.tensor([0, *_places(joints, frames)]).argsort().tolist()
    return cut.permute(order).reshape(n, c, rows, columns)


def _places(joints: str, frames: str) -> tuple[int, ...]:
    """Dimensions of frame block, joint block, channel, frame and joint, after the reshape."""
    rows = (2, 3) if frames == "near" else (3, 2)
    columns = (4, 5) if joints == "near" else (5, 4)
    return rows[0], columns[0], 1, rows[1], columns[1]


def _check(joints: str, frames: str, size: tuple[int, int], shape: tuple[int, int]) -> None:
    for kind in (joints, frames):
        if kind not in ("near", "far"):
            raise unknown_name("kind of partition", kind, ("near", "far"))
    if min(size) < 1 or shape[0] % size[0] or shape[1] % size[1]:
        raise UsageError(
            f"parts of {size[0]} frames x {size[1]} joints do not divide {shape[0]} x {shape[1]}; "
            "give divisors"
        )

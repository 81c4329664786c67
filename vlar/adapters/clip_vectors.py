"""One vector of a clip for maps that are learned: each block of its features, over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlar.adapters.frame_inputs import block_width, read_block
from vlar.encoders.base import FrameBlock
from vlar.numeric import unit
from vlar.types import Float32

_MOMENTS = 8
_ORDERED = ("signal", "pose")


def clip_width(blocks: Sequence[FrameBlock]) -> int:
    """d, entries of ``clip_vectors``."""
    return sum(block_width(block) * _parts_of(block.kind) for block in blocks)


def clip_vectors(features: Float32, blocks: Sequence[FrameBlock]) -> Float32:
    """(N, T, F) frame features to (N, d) float32: parts of unit length, one after the other.

    A block gives its mean over time; appearance also its mean absolute step from frame to frame;
    joints and other signals also that, the deviation over time, and eight moments less their mean,
    in which the order of a movement shows.
    """
    found: list[Float32] = []
    start = 0
    for block in blocks:
        part = read_block(features[..., start : start + block.width], block.kind)
        start += block.width
        if block.kind in _ORDERED:
            found.append(signal_vectors(part))
            continue
        found.append(unit(part.mean(axis=1)))
        if block.kind == "appearance":
            found.append(unit(_steps(part)))
    return np.concatenate(found, axis=1)


def signal_width(width: int) -> int:
    """Entries of ``signal_vectors`` of a signal of ``width`` channels."""
    return (3 + _MOMENTS) * width


def signal_vectors(part: Float32) -> Float32:
    """(N, T, W) signals to their mean, mean step, deviation and course, each of unit length."""
    parts = (part.mean(axis=1), _steps(part), part.std(axis=1), _course(part))
    return np.concatenate([unit(each) for each in parts], axis=1)


def _parts_of(kind: str) -> int:
    if kind in _ORDERED:
        return signal_width(1)
    return 2 if kind == "appearance" else 1


def _steps(part: Float32) -> Float32:
    if part.shape[1] < 2:
        return np.zeros_like(part[:, 0])
    return np.abs(np.diff(part, axis=1)).mean(axis=1)


def _course(part: Float32) -> Float32:
    """(N, 8 W) moments of (N, T, W), less their mean."""
    length = part.shape[1]
    place = ((np.arange(_MOMENTS) + 0.5) * length / _MOMENTS - 0.5).clip(0, length - 1)
    before = np.floor(place).astype(np.intp)
    after, share = np.minimum(before + 1, length - 1), (place - before)[None, :, None]
    moments = part[:, before] * (1 - share) + part[:, after] * share
    away = moments - moments.mean(axis=1, keepdims=True)
    return away.reshape(len(part), -1).astype(np.float32)

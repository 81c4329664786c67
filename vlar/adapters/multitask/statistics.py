"""One vector of a clip for the map: each block of its frame features, over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlar.adapters.frame_inputs import block_width, read_block
from vlar.encoders.base import FrameBlock
from vlar.numeric import unit
from vlar.types import Float32


def width(blocks: Sequence[FrameBlock]) -> int:
    """d, entries of ``clip_statistics``."""
    return sum(block_width(block) * (1 + (block.kind == "appearance")) for block in blocks)


def clip_statistics(features: Float32, blocks: Sequence[FrameBlock]) -> Float32:
    """(N, T, F) frame features to (N, d) float32: blocks of unit length, one after the other.

    A block is its mean over time, in units that may be compared; appearance also has its mean
    absolute step from frame to frame.
    """
    parts: list[Float32] = []
    start = 0
    for block in blocks:
        part = read_block(features[..., start : start + block.width], block.kind)
        start += block.width
        parts.append(unit(part.mean(axis=1)))
        if block.kind == "appearance":
            steps = np.abs(np.diff(part, axis=1)) if part.shape[1] > 1 else np.zeros_like(part)
            parts.append(unit(steps.mean(axis=1)))
    return np.concatenate(parts, axis=1)

"""What C2C reads of a clip: its frames, and for verbs what changes from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlar.adapters.c2c.config import C2CConfig
from vlar.adapters.frame_inputs import block_width, read_blocks
from vlar.encoders.base import FrameBlock
from vlar.types import Float32

_STILL = 0.01  # of a frame's energy: deviations below it are noise

_SQUARE = ("similarities", "both")  # these need as many frames of every clip

Blocks = Sequence[tuple[int, FrameBlock]]


def part_widths(blocks: Blocks, config: C2CConfig) -> list[int]:
    """Entries of each part of a frame as ``read_parts`` gives it."""
    widths = [block_width(block) for _, block in blocks]
    found = list(widths)
    if config.verbs_from in ("deviations", "both"):
        found += widths
    if config.verbs_from in ("similarities", "both"):
        found += [config.frames] * len(widths)
    return found


def sampled(features: Float32, config: C2CConfig) -> Float32:
    """(N, T, F) to (N, T', F): evenly spaced frames, at most ``frames`` of the settings.

    Similarities need as many of every clip: of a shorter one frames come again.
    """
    count, most = features.shape[1], config.frames
    if count <= most and (config.verbs_from not in _SQUARE or not count):
        return features
    return features[:, ((np.arange(most) + 0.5) * count / most).astype(int)]


def read_parts(features: Float32, blocks: Blocks, config: C2CConfig) -> list[Float32]:
    """Blocks (N, T, W) of frame features (N, T, F), and as many parts for verbs where set so."""
    if config.verbs_from in _SQUARE:
        features = sampled(features, config)
    shown = read_blocks(features, blocks)
    if config.verbs_from == "frames":
        return shown
    apart = [part - part.mean(axis=1, keepdims=True) for part in shown]
    if config.verbs_from == "deviations":
        return shown + apart
    alike = [_alike(*rows) for rows in zip(shown, apart, strict=True)]
    return shown + (alike if config.verbs_from == "similarities" else apart + alike)


def _alike(shown: Float32, apart: Float32) -> Float32:
    """(N, T, T) products of deviations (N, T, W), over their mean square; 0 of a still clip."""
    products = apart @ apart.swapaxes(1, 2)
    moved = np.square(apart).sum(axis=2).mean(axis=1)
    still = np.square(shown).sum(axis=2).mean(axis=1)
    return (products / np.maximum(moved + _STILL * still, 1e-9)[:, None, None]).astype(np.float32)

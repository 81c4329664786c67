"""Parts of a bundle in its frame features: which columns each fills, and which parts are there.

Letters: N clips, M parts, T rows, F features of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.beside import Wrapper
from vlar.encoders.bundle import PRESENCE, Bools, BundleEncoder
from vlar.encoders.protocols import PatchTokens, WithRegions
from vlar.types import Float32

_ROUNDS = 64


def draw(present: Bools, random: np.random.Generator, p: float) -> Bools:
    """Draw the parts that each clip keeps, never none (MMG-Ego4D, modality dropout).

    Each part is left out with probability ``p``, and a clip that would keep none is drawn again. At
    0.5 every non-empty subset is equally likely.

    Args:
        present: (N, M) bool, the parts that are there.
        random: Draws; the same state gives the same answer.
        p: 0 to 1.

    Returns:
        (N, M) bool; a clip without any part keeps none.
    """
    present = np.asarray(present, bool)
    kept_parts = present & (random.random(present.shape) >= p)
    for _ in range(_ROUNDS):
        empty = np.flatnonzero(present.any(axis=1) & ~kept_parts.any(axis=1))
        if not len(empty):
            return kept_parts
        kept_parts[empty] = present[empty] & (random.random((len(empty), present.shape[1])) >= p)
    emptied = np.flatnonzero(present.any(axis=1) & ~kept_parts.any(axis=1))
    chance = np.where(present[emptied], random.random((len(emptied), present.shape[1])), -1.0)
    kept_parts[emptied, chance.argmax(axis=1)] = True
    return kept_parts


@dataclass(frozen=True)
class PresentPart:
    """A part of a bundle.

    Attributes:
        name: Name of its encoder.
        sensor: Its modality.
        start: First column of its frame features.
        end: Column after the last.
        place: Where its blocks are in a vector.
    """

    name: str
    sensor: str
    start: int
    end: int
    place: slice


def parts_of(encoder: Encoder) -> list[PresentPart]:
    """The parts of a bundle; an encoder of one sensor is its only part."""
    while isinstance(encoder, Wrapper) and not isinstance(encoder, WithRegions):
        encoder = encoder.encoder
    parts = encoder.parts if isinstance(encoder, BundleEncoder) else (encoder,)
    ends = np.cumsum([0, *(part.frame_dim for part in parts)]).tolist()
    to = np.cumsum([0, *(part.dim for part in parts)]).tolist()
    return [
        PresentPart(part.name, part.modality, ends[n], ends[n + 1], slice(to[n], to[n + 1]))
        for n, part in enumerate(parts)
    ]


def with_patches(encoder: Encoder, grid: int) -> Encoder:
    """The encoder, or the bundle, whose parts with patches give those of a grid too; 0 for none."""
    if not grid:
        return encoder
    if isinstance(encoder, BundleEncoder):
        return BundleEncoder([with_patches(part, grid) for part in encoder.parts], encoder.factors)
    if isinstance(encoder, PatchTokens) and encoder.has_patches:
        return WithRegions(encoder, grid, grid)
    return encoder


def there_of(features: Float32, blocks: Sequence[tuple[int, FrameBlock]]) -> Bools:
    """Parts that are there: (N, M) bool, from frame features (N, T, F) and their placed blocks."""
    for start, block in blocks:
        if block.kind == PRESENCE:
            return features[:, :, start : start + block.width].max(axis=1) > 0.5
    return np.ones((len(features), 1), bool)

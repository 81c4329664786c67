"""The blocks of a library's vectors, and which of them another model can reuse."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from vlar.encoders.base import Encoder
from vlar.numeric import unit
from vlar.types import Float32


@dataclass(frozen=True)
class BlockSlice:
    """A block of a vector: ``vector[..., start:start + width]``, a unit vector times ``weight``."""

    name: str
    start: int
    width: int
    weight: float
    fingerprint: str

    @property
    def place(self) -> slice:
        """Its slice of a vector."""
        return slice(self.start, self.start + self.width)


@runtime_checkable
class HasEncoder(Protocol):
    """A model with a public encoder, as ``vlar.model.model.Model`` is."""

    @property
    def encoder(self) -> Encoder:
        """Its towers."""
        ...


def declared(model: object) -> tuple[BlockSlice, ...]:
    """The parts of a model's vectors; none where it has no public encoder."""
    if not isinstance(model, HasEncoder):
        return ()
    prints = model.encoder.block_fingerprints()
    parts: list[BlockSlice] = []
    start = 0
    for block in model.encoder.blocks:
        parts.append(BlockSlice(block.name, start, block.width, block.weight, prints[block.name]))
        start += block.width
    return tuple(parts)


def to_text(parts: Sequence[BlockSlice]) -> str:
    """For the manifest of a library."""
    return json.dumps([[p.name, p.start, p.width, p.weight, p.fingerprint] for p in parts])


def from_text(text: str) -> tuple[BlockSlice, ...]:
    """From the manifest; none where the text is not usable, as in older libraries."""
    try:
        return tuple(BlockSlice(*row) for row in json.loads(text or "[]"))
    except (TypeError, ValueError):
        return ()


def shared(
    old: Sequence[BlockSlice], new: Sequence[BlockSlice]
) -> list[tuple[BlockSlice, BlockSlice]]:
    """Blocks that did not change: their parts of the old and of the new vectors."""
    known = {(part.name, part.fingerprint, part.width): part for part in old}
    keys = [(part.name, part.fingerprint, part.width) for part in new]
    return [(known[key], part) for key, part in zip(keys, new, strict=True) if key in known]


def missing(old: Sequence[BlockSlice], new: Sequence[BlockSlice]) -> list[str]:
    """Names of the blocks that must be computed."""
    kept = {part.name for _, part in shared(old, new)}
    return [part.name for part in new if part.name not in kept]


def can_upgrade(old: Sequence[BlockSlice], new: Sequence[BlockSlice], same_model: bool) -> bool:
    """Return whether no block would be lost, and the model is the same or shares a block."""
    lost = {part.name for part in old} - {part.name for part in new}
    return bool(old) and not lost and (same_model or bool(shared(old, new)))


def merged_vectors(
    vectors: Float32, into: Float32, pairs: Sequence[tuple[BlockSlice, BlockSlice]]
) -> Float32:
    """Put blocks of stored vectors (N, D) into new ones (N, E); the result has unit length."""
    found = into.astype(np.float32, copy=True)
    for old, new in pairs:
        found[:, new.place] = vectors[:, old.place] * np.float32(new.weight / old.weight)
    return unit(found)

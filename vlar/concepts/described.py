"""Concepts from names and descriptions together.

A block of the vector (``Encoder.blocks``) is the weighted mean of unit vectors: the name's, and
for each kind of description the mean of its texts. Descriptions say in many words what the name
says in one, and their errors differ; their mean is nearer to what is seen than any of them
(evals/descriptions.py). Which blocks take descriptions, which kinds, and what they weigh is the
encoder's (``Encoder.descriptions``), measured; an encoder without any goes by names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from vlar.concepts.lookup import Described
from vlar.concepts.vectors import concept_vectors
from vlar.encoders.base import BlockMix, Encoder, unit
from vlar.kept import kept_vectors
from vlar.types import Float32

_WORTH_KEEPING = 64  # texts
NAME = "name"


def described_vectors(
    encoder: Encoder,
    texts: Sequence[str],
    described: Sequence[Described],
    templates: Sequence[str],
    mixes: Sequence[BlockMix],
) -> Float32:
    """Concept vectors of labels with descriptions; a label without any goes by its name.

    Args:
        encoder: The text tower.
        texts: C label texts.
        described: C mappings of kind to descriptions.
        templates: P templates, for the names.
        mixes: What each block is made of; a block without one goes by names.

    Returns:
        (C, D) float32 of unit length.
    """
    names = concept_vectors(encoder, texts, templates)
    kinds = sorted({kind for mix in mixes for kind in mix.kinds} - {NAME})
    used = [{kind: row[kind] for kind in kinds if kind in row} for row in described]
    if not any(used):
        return names

    def make() -> Float32:
        return _mixed(encoder, names, used, mixes)

    if sum(len(found) for row in used for found in row.values()) < _WORTH_KEEPING:
        return make()
    recipe = [[mix.block, dict(mix.kinds), mix.weight] for mix in mixes]
    key = json.dumps(["described", list(templates), list(texts), used, recipe])
    return kept_vectors(encoder, key, names.shape, make)


def _mixed(
    encoder: Encoder, names: Float32, used: Sequence[Described], mixes: Sequence[BlockMix]
) -> Float32:
    vectors = names.copy()
    place = {block.name: block for block in encoder.blocks}
    starts = dict(zip(place, np.cumsum([0, *(b.width for b in place.values())]), strict=False))
    for mix in mixes:
        if mix.block not in place:
            continue
        part = slice(starts[mix.block], starts[mix.block] + place[mix.block].width)
        texts = dict.fromkeys(t for row in used for kind in mix.kinds for t in row.get(kind, ()))
        rows = encoder.encode_text_block(list(texts), mix.block)
        found = dict(zip(texts, unit(rows), strict=True))
        for row, own, name in zip(vectors, used, names, strict=True):
            if own:
                row[part] = _mean(name[part], own, found, mix)
    return unit(vectors)


def _mean(name: Float32, own: Described, found: Mapping[str, Float32], mix: BlockMix) -> Float32:
    total = mix.kinds.get(NAME, 0.0) * unit(name)
    for kind, weight in mix.kinds.items():
        if own.get(kind):
            total = total + weight * unit(np.mean([found[text] for text in own[kind]], axis=0))
    # The name's own length is the block's share; a block the name is silent on stays silent.
    return unit(total) * (mix.weight * np.linalg.norm(name))

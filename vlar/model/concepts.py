"""Concept vectors of labels and phrases, from filled templates and descriptions.

A concept is the unit mean of the vectors of its filled templates (Radford et al. 2021, section
3.1.4, prompt ensembling). Large label lists are encoded once per encoder
(``vlar.encoders.vector_cache``).

With descriptions, a block of the vector (``Encoder.blocks``) is the weighted mean of unit vectors:
the name's, and for each kind of description the mean of its texts. Their errors differ, so their
mean is nearer to matching videos than any of them (evals/descriptions.py). Which blocks take
descriptions, which kinds, and their weights is the encoder's (``Encoder.descriptions``), measured.
An encoder without any uses names alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence

import numpy as np

from vlar.encoders.base import BlockMix, Encoder
from vlar.encoders.vector_cache import cached_vectors
from vlar.numeric import unit
from vlar.text.description_lookup import Described
from vlar.text.prompts import fill
from vlar.types import Float32, Role

_log = logging.getLogger("vlar")
NAME = "name"
_WORTH_KEEPING = 64  # texts; fewer are encoded again faster than a file is worth


def concept_vectors(
    encoder: Encoder, texts: Sequence[str], templates: Sequence[str], role: Role = "label"
) -> Float32:
    """Concept vectors of label texts or phrases.

    Args:
        encoder: The text tower.
        texts: C texts as a person would write them.
        templates: P templates with one ``{}`` each.
        role: What the texts are for; it counts where the encoder has ``two_roles``.

    Returns:
        (C, D) float32 of unit length.
    """
    if not texts:
        return np.zeros((0, encoder.dim), np.float32)
    _report_cut(encoder, texts)
    if len(texts) < _WORTH_KEEPING:
        return _encode(encoder, texts, templates, role)
    key = json.dumps([list(templates), list(texts), *([role] if encoder.two_roles else [])])
    shape = (len(texts), encoder.dim)
    return cached_vectors(encoder, key, shape, lambda: _encode(encoder, texts, templates, role))


def _encode(
    encoder: Encoder, texts: Sequence[str], templates: Sequence[str], role: Role
) -> Float32:
    filled = fill(templates, texts)
    flat = [prompt for prompts in filled for prompt in prompts]
    vectors = encoder.encode_in_role(flat, role)
    vectors = vectors.reshape(len(texts), len(templates), encoder.dim)
    return vectors[:, 0] if len(templates) == 1 else unit(vectors.mean(axis=1))


def _report_cut(encoder: Encoder, texts: Sequence[str]) -> None:
    # A token is at least one character, so short texts need no count.
    for text in texts:
        if len(text) + 2 <= encoder.max_tokens:
            continue
        tokens = encoder.count_tokens(text)
        if tokens > encoder.max_tokens:
            _log.warning(
                "%r... has %d tokens; %s reads the first %d, the rest is ignored",
                text[:40],
                tokens,
                encoder.name,
                encoder.max_tokens,
            )


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
    return cached_vectors(encoder, key, names.shape, make)


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
    # The name's own length is the block's share; a block that the name leaves zero stays zero.
    return unit(total) * (mix.weight * np.linalg.norm(name))

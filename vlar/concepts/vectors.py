"""Labels and phrases to concept vectors: templates filled, encoded, averaged.

A concept is the unit mean of the vectors of its filled templates (Radford et al. 2021, section
3.1.4, prompt ensembling). Large label lists are encoded once per encoder (``vlar.kept``).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

import numpy as np

from vlar.encoders.base import Encoder, unit
from vlar.kept import kept_vectors
from vlar.text.prompts import fill
from vlar.types import Float32

_log = logging.getLogger("vlar")
_WORTH_KEEPING = 64  # texts; fewer are encoded again faster than a file is worth


def concept_vectors(encoder: Encoder, texts: Sequence[str], templates: Sequence[str]) -> Float32:
    """Concept vectors of label texts or phrases.

    Args:
        encoder: The text tower.
        texts: C texts as a person would write them.
        templates: P templates with one ``{}`` each.

    Returns:
        (C, D) float32 of unit length.
    """
    if not texts:
        return np.zeros((0, encoder.dim), np.float32)
    _report_cut(encoder, texts)
    if len(texts) < _WORTH_KEEPING:
        return _encode(encoder, texts, templates)
    key = json.dumps([list(templates), list(texts)])
    shape = (len(texts), encoder.dim)
    return kept_vectors(encoder, key, shape, lambda: _encode(encoder, texts, templates))


def _encode(encoder: Encoder, texts: Sequence[str], templates: Sequence[str]) -> Float32:
    filled = fill(templates, texts)
    flat = [prompt for prompts in filled for prompt in prompts]
    vectors = encoder.encode_text(flat).reshape(len(texts), len(templates), encoder.dim)
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

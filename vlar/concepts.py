"""Labels and phrases to concept vectors: templates filled, encoded, averaged, and kept on disk.

A concept is the unit mean of the vectors of its filled templates (Radford et al. 2021, section
3.1.4, prompt ensembling). Large label lists are encoded once per encoder and found again by hash.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vlar import resources
from vlar.encoders.base import Encoder, unit
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
    path = _cache_path(encoder, texts, templates)
    kept = _read(path, (len(texts), encoder.dim))
    if kept is not None:
        return kept
    vectors = _encode(encoder, texts, templates)
    _write(path, vectors)
    return vectors


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


def _cache_path(encoder: Encoder, texts: Sequence[str], templates: Sequence[str]) -> Path:
    key = json.dumps([list(templates), list(texts)], ensure_ascii=True)
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    return resources.cache_dir() / "concepts" / encoder.fingerprint[:16] / f"{name}.npy"


def _read(path: Path, shape: tuple[int, int]) -> Float32 | None:
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return vectors if vectors.shape == shape and vectors.dtype == np.float32 else None


def _write(path: Path, vectors: Float32) -> None:
    # A cache that cannot be written (read-only disk, full disk) costs time, never the answer.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            np.save(file, vectors)
        Path(temporary).replace(path)
    except OSError as error:
        _log.debug("concept vectors were not kept at %s: %s", path, error)

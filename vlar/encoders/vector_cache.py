"""Vectors that an encoder need not make twice: kept in the cache folder, found by hash."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vlar import resources
from vlar.encoders.base import Encoder
from vlar.sensors.lookup import reader
from vlar.types import Float32

_log = logging.getLogger("vlar")


def kept_vectors(
    encoder: Encoder, key: str, shape: tuple[int, int], make: Callable[[], Float32]
) -> Float32:
    """The vectors that ``make`` gives, from the cache where this encoder made them before.

    Args:
        encoder: Its fingerprint is part of the address, so a changed encoder makes them anew.
        key: All that the vectors depend on beside the encoder.
        shape: What they must have; a damaged file is made anew.
        make: Called at most once.
    """
    name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    path = resources.cache_dir() / "vectors" / encoder.fingerprint[:16] / f"{name}.npy"
    found = _read(path, shape)
    if found is None:
        found = make()
        _write(path, found)
    return found


def content_free_vectors(encoder: Encoder) -> Float32:
    """(M, D) what an encoder answers to the clips of its reader that show nothing."""
    clips = reader(encoder.modality).blank(encoder.sampling)
    if not clips:
        return np.zeros((0, encoder.dim), np.float32)
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(clip.data.tobytes())
    key = f"content-free {digest.hexdigest()}"

    def make() -> Float32:
        return np.stack([each.vector for each in encoder.encode(clips)])

    return kept_vectors(encoder, key, (len(clips), encoder.dim), make)


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
        _log.debug("vectors were not kept at %s: %s", path, error)

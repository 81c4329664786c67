"""Vectors that an encoder need not compute twice: cached on disk, found by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from vlar.encoders.base import Encoder
from vlar.resources import cached
from vlar.sensors.lookup import reader
from vlar.types import Float32


def cached_vectors(
    encoder: Encoder, key: str, shape: tuple[int, int], make: Callable[[], Float32]
) -> Float32:
    """The vectors that ``make`` gives, from the cache where this encoder made them before.

    Args:
        encoder: Its fingerprint is part of the address, so a changed encoder makes new ones.
        key: All that the vectors depend on besides the encoder.
        shape: (N, D) they must have.
        make: Called at most once.
    """
    digest = hashlib.sha256(f"{shape} {key}".encode("utf-8", "surrogatepass")).hexdigest()
    made: list[Float32] = []

    def content() -> bytes:
        made.append(make())
        return np.ascontiguousarray(made[0], np.float32).tobytes()

    data = cached(f"vectors-{encoder.fingerprint[:16]}", f"{digest[:32]}.bin", content)
    if made:
        return made[0]
    vectors = np.frombuffer(data, np.float32)
    return vectors.reshape(shape).copy()


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

    return cached_vectors(encoder, key, (len(clips), encoder.dim), make)

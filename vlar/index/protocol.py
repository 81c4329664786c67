"""What a library needs of a model; ``vlar.model.Model`` has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vlar.types import Clip, Float32, Float64


class LibraryModel(Protocol):
    """Clips and texts to vectors of one space, and how well a row answers a text."""

    @property
    def name(self) -> str:
        """The spec that loads it again."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of everything that changes a vector."""
        ...

    @property
    def dim(self) -> int:
        """D."""
        ...

    @property
    def n_frames(self) -> int:
        """T."""
        ...

    @property
    def shorter_side(self) -> int:
        """Pixels; larger frames are shrunk to it while decoding."""
        ...

    def encode_clips(self, clips: Sequence[Clip]) -> Float32:
        """N clips to (N, D) of unit length."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> Float32:
        """Q texts to (Q, D) of unit length."""
        ...

    def match_probability(self, vectors: Float32, query: Float32) -> Float32 | Float64:
        """(N,) probability 0 to 1 that each row (N, D) shows what the query (D,) says."""
        ...

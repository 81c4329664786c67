"""What a library needs of a model; ``vlar.model.Model`` has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from vlar.question import Seen
from vlar.types import Clip, Float32, Float64


class Matcher(Protocol):
    """How well a row answers a text."""

    def match_probability(self, vectors: Float32, query: Float32) -> Float32 | Float64:
        """(N,) probability 0 to 1 that each row (N, D) shows what the query (D,) says."""
        ...


class LibraryModel(Matcher, Protocol):
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


@runtime_checkable
class ConditioningModel(Protocol):
    """What a model has besides, where a text may have another vector for each video."""

    @property
    def conditions_text(self) -> bool:
        """Whether it has."""
        ...

    def see(self, clip: Clip) -> Seen:
        """The vector (1, D) and the context (1, k, E) of a clip, in one pass."""
        ...

    def conditioned_queries(self, texts: Sequence[str], context: npt.NDArray[Any]) -> Float32:
        """Q texts as each of N windows sees them, from contexts (N, k, E): (N, Q, D)."""
        ...


def conditioning(model: object) -> ConditioningModel | None:
    """The model as one whose text depends on the video; None where it does not."""
    return model if isinstance(model, ConditioningModel) and model.conditions_text else None

"""Protocols of a model for a library; ``vlar.model.model.Model`` has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from vlar.encoders.base import Asked
from vlar.encoders.session import Session
from vlar.types import Clip, Encoded, Float32, Float64, Sampling


class RowMatcher(Protocol):
    """Rates how well a row answers a text."""

    def match_probability(self, vectors: Float32, query: Float32) -> Float32 | Float64:
        """(N,) probability, 0 to 1, that each row (N, D) shows what the query (D,) describes."""
        ...


class LibraryModel(RowMatcher, Protocol):
    """Maps clips and texts to vectors of one space, and rates how well a row answers a text."""

    @property
    def name(self) -> str:
        """The spec that loads it again."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of everything that changes a vector."""
        ...

    @property
    def modality(self) -> str:
        """Name of the sensor whose clips it takes."""
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
        """Pixels; larger pictures are shrunk to it while decoding. 0 without pictures."""
        ...

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """N clips to vectors (D,) of unit length, and context where text depends on the video."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> Float32:
        """Q texts to (Q, D) of unit length."""
        ...


@runtime_checkable
class ConditioningModel(Protocol):
    """A model whose texts have another vector for each video."""

    @property
    def conditions_text(self) -> bool:
        """Return whether its text depends on the video."""
        ...

    def conditioned_queries(self, texts: Sequence[str], context: npt.NDArray[Any]) -> Float32:
        """Q texts conditioned on contexts (N, k, E) of N windows: (N, Q, D) of unit length."""
        ...


@runtime_checkable
class ComposingModel(Protocol):
    """A model that learned verbs and objects apart."""

    @property
    def composes(self) -> bool:
        """Return whether it learned verbs and objects apart."""
        ...

    def pair_scores(
        self, context: npt.NDArray[Any], pair: tuple[str, str]
    ) -> tuple[Float32, Float64]:
        """Similarity (N,) and probability (N,) of a verb with an object, given N contexts."""
        ...


@runtime_checkable
class SharingModel(Protocol):
    """A model whose overlapping windows share work."""

    def session(self) -> Session:
        """Session for the windows of recordings in the order of time."""
        ...


@runtime_checkable
class SampledModel(Protocol):
    """A model that declares all of its sampling."""

    @property
    def sampling(self) -> Sampling:
        """Samples of a clip that a reader gives."""
        ...


@runtime_checkable
class AskedModel(Protocol):
    """A model whose probabilities were fitted on texts that are asked one by one."""

    @property
    def asked(self) -> Asked | None:
        """Constants of the fit; None where nothing was fitted."""
        ...


def among(model: object, probability: Float64, recordings: int) -> Float64:
    """Probabilities (N,) of hits of a library from those of its windows alone.

    Args:
        model: Of the library; without constants of its own nothing changes.
        probability: (N,) by ``match_probability``.
        recordings: Of the library.
    """
    asked = model.asked if isinstance(model, AskedModel) else None
    return probability if asked is None else asked.among(probability, recordings)


def moment(model: object, probability: Float64) -> Float64:
    """Stated probabilities (N,) that moments show a text, whatever else the library holds.

    Args:
        model: Of the library; without constants of its own nothing changes.
        probability: (N,) by ``match_probability``.
    """
    asked = model.asked if isinstance(model, AskedModel) else None
    return probability if asked is None else asked.moment(probability)


def sampling_of(model: LibraryModel) -> Sampling:
    """Samples of a window that a reader gives: T or a rate, and the size of pictures."""
    if isinstance(model, SampledModel):
        return model.sampling
    return Sampling(model.n_frames, shorter_side=model.shorter_side or None)


def session_of(model: LibraryModel) -> Session:
    """The model's session; one that encodes every clip by itself where it has none."""
    return model.session() if isinstance(model, SharingModel) else Session(model.encode)


def composing(model: object) -> ComposingModel | None:
    """The model as one that learned verbs and objects apart; None where it did not."""
    return model if isinstance(model, ComposingModel) and model.composes else None


def keeps_context(model: object) -> bool:
    """Return whether queries of the model read context tokens of windows."""
    return conditioning(model) is not None or composing(model) is not None


def conditioning(model: object) -> ConditioningModel | None:
    """The model as one whose text depends on the video; None where it does not."""
    return model if isinstance(model, ConditioningModel) and model.conditions_text else None

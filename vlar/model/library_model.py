"""Model of a library: clips and texts as vectors of one space, and how well a row answers a text.

``vlar.model.core.ModelCore`` is that of encoders; a library takes any other subclass too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt

from vlar.encoders.base import Asked
from vlar.encoders.session import Session
from vlar.errors import UsageError
from vlar.types import Clip, Encoded, Float32, Float64, Sampling

PairScores = Callable[[npt.NDArray[Any], tuple[str, str]], tuple[Float32, Float64]]


class LibraryModel(ABC):
    """Maps clips and texts to vectors of one space, and rates how well a row answers a text.

    Attributes:
        name: The spec that loads it again.
        fingerprint: Hash of everything that changes a vector.
        modality: Name of the sensor whose clips it takes.
        dim: D, width of the vectors.
        n_frames: T, frames of a window.
        shorter_side: Pixels; larger pictures are shrunk to it while decoding. 0 without pictures.
        asked: Constants of texts that are asked one by one; None where none were fitted.
        conditions_text: Whether a text has another vector for each clip (``conditioned_queries``).
        pair_scores: Similarity (N,) and probability (N,) of a verb with an object, by contexts
            (N, k, E); None where verbs and objects were not learned apart.
        english: Whether its texts are read in English only.
        few_words: Whether words say little about its sensor.
    """

    name: str
    fingerprint: str
    modality: str = "video"
    dim: int
    n_frames: int
    shorter_side: int = 0
    asked: Asked | None = None
    conditions_text: bool = False
    pair_scores: PairScores | None = None
    english: bool = False
    few_words: bool = False

    @abstractmethod
    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """N clips to vectors (D,) of unit length, and context where text depends on the video."""

    @abstractmethod
    def encode_queries(self, texts: Sequence[str]) -> Float32:
        """Q phrases of a search to concept vectors (Q, D) float32 of unit length."""

    @abstractmethod
    def match_probability(self, vectors: Float32, query: Float32) -> Float32 | Float64:
        """(N,) probability, 0 to 1, that each row (N, D) shows what the query (D,) describes.

        A model with ``everyday`` takes its result as a third argument, which may be left out.
        """

    def everyday(self, vectors: Float32) -> Float64 | None:
        """Figures (N, 3) of rows (N, D) that no query changes, which a library keeps; None: none.

        A row has the same figures in any company.
        """
        return None

    def conditioned_queries(self, texts: Sequence[str], context: npt.NDArray[Any]) -> Float32:
        """Labels or phrases, conditioned on each of N windows.

        Args:
            texts: Q labels or phrases.
            context: (N, k, E) float16 or float32, the context tokens of ``encode``.

        Returns:
            (N, Q, D) float32 of unit length.

        Raises:
            UsageError: text does not depend on the video in this model.
        """
        raise UsageError(f"text does not depend on the video in model {self.name!r}")

    @property
    def calibrated(self) -> bool:
        """Whether constants of answers were fitted to the model."""
        return self.asked is not None

    @property
    def keeps_context(self) -> bool:
        """True where queries read context tokens of windows."""
        return self.conditions_text or self.pair_scores is not None

    @property
    def sampling(self) -> Sampling:
        """Samples of a window that a reader gives."""
        return Sampling(self.n_frames, shorter_side=self.shorter_side or None)

    def session(self) -> Session:
        """Session for vectors of a recording's windows in the order of time; without features."""
        return Session(self.encode)

    def among(self, probability: Float64, recordings: int) -> Float64:
        """Probabilities (N,) of hits of a library from those of its windows alone.

        Args:
            probability: (N,) by ``match_probability``; without constants nothing changes.
            recordings: Recordings of the library.
        """
        return probability if self.asked is None else self.asked.among(probability, recordings)

    def moment(self, probability: Float64) -> Float64:
        """Stated probabilities (N,) that moments show a text, whatever else the library holds.

        Args:
            probability: (N,) by ``match_probability``; without constants nothing changes.
        """
        return probability if self.asked is None else self.asked.moment(probability)

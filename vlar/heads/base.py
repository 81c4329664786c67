"""One face for everything that turns encoded clips into scores over labels.

A head is made once for a label list and scores any number of clips. Clips are scored one by one
inside it: a matrix product rounds by the number of its rows, and the answer for a clip is the same
alone and in company, to the last bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from vlar.types import Encoded, Float32, Float64, JsonDict

UNKNOWN_THRESHOLD = 0.5
# Between both, one label alone is neither shown nor absent: there, answers of yes and of no are
# wrong in four of ten cases (evals/believe.py).
NO_BELOW, YES_FROM = 0.45, 0.55
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Scores:
    """Answers for N clips and C labels.

    Attributes:
        similarity: (N, C) float32 in -1..1, cosines.
        probability: (N, C) float64 in 0..1. Labels that exclude each other sum with ``unknown`` to
            1 in every row; several labels at once stand each for itself.
        unknown: (N,) float64 in 0..1, the probability that none of the labels fits.
    """

    similarity: Float32
    probability: Float64
    unknown: Float64

    def __len__(self) -> int:
        return len(self.unknown)

    @property
    def is_unknown(self) -> npt.NDArray[np.bool_]:
        """(N,) True where ``unknown`` is more likely than all labels together."""
        return self.unknown > UNKNOWN_THRESHOLD

    @staticmethod
    def join(rows: Iterable[Scores], n_labels: int) -> Scores:
        """The rows of several scores over the same C labels; none gives zero rows."""
        listed = list(rows)
        if not listed:
            empty = np.zeros((0, n_labels))
            return Scores(empty.astype(np.float32), empty, np.zeros(0))
        return Scores(
            np.concatenate([row.similarity for row in listed]),
            np.concatenate([row.probability for row in listed]),
            np.concatenate([row.unknown for row in listed]),
        )

    @staticmethod
    def mixed(parts: Sequence[Scores], weights: Sequence[float]) -> Scores:
        """The weighted mean of several scores of the same N clips and C labels.

        Args:
            parts: At least one.
            weights: Weight of each; they need not add up to 1.
        """
        shares = np.asarray(weights, np.float64) / float(np.sum(weights))
        similarity = np.tensordot(shares, np.stack([part.similarity for part in parts]), 1)
        probability = np.tensordot(shares, np.stack([part.probability for part in parts]), 1)
        unknown = np.tensordot(shares, np.stack([part.unknown for part in parts]), 1)
        return Scores(similarity.astype(np.float32), probability, unknown)


class ModelHead(ABC):
    """Head that a model folder holds under its registered name, next to the head of its labels.

    ``@register("head", NAME)``; the folder has its ``config`` in ``heads`` of the manifest, and its
    arrays in ``NAME.safetensors``. ``Model.heads`` has it by name.
    """

    @abstractmethod
    def config(self) -> JsonDict:
        """All but its arrays, as JSON."""

    @abstractmethod
    def state(self) -> dict[str, Array]:
        """Arrays by name, of which there is one at least."""

    @classmethod
    @abstractmethod
    def restore(cls, config: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        """The head of a saved model.

        Args:
            config: As ``config`` gives it; it comes from a file of another person.
            arrays: As ``state`` gives them.

        Raises:
            ModelError: either is malformed.
        """

    @classmethod
    @abstractmethod
    def example(cls) -> Self:
        """A small head for tests."""


def verdict(probability: float) -> str:
    """The answer to one label alone: ``yes``, ``unsure`` or ``no``.

    >>> verdict(0.7), verdict(0.5), verdict(0.1)
    ('yes', 'unsure', 'no')
    """
    if probability >= YES_FROM:
        return "yes"
    return "no" if probability < NO_BELOW else "unsure"


class Head(ABC):
    """Encoded clips in, scores over its labels out.

    Attributes:
        name: Name of the form in a saved configuration.
        reads: ``vector`` for the clip's vector alone, or ``features`` for its features over time.
        labels: C labels in the order of the score columns.
    """

    name: ClassVar[str]
    reads: ClassVar[str] = "vector"
    labels: tuple[str, ...]

    @abstractmethod
    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """Scores of N clips; a clip scores the same alone and in company."""

    @abstractmethod
    def config(self) -> JsonDict:
        """The settings to save (JSON)."""

    @abstractmethod
    def state(self) -> dict[str, Array]:
        """The arrays to save (safetensors)."""

"""Semantic search over a fixed list of texts, by sentence vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np

from vlar.encoders.sentences import cached_sentence_vectors, sentence_vectors
from vlar.types import Float32

T = TypeVar("T")
_RELATED = 0.6  # cosine below which two labels have little in common


class SimilarTexts(Generic[T]):
    """Finds the texts nearest in meaning.

    Args:
        texts: E texts.
        values: E values, one per text, that a search returns.
    """

    def __init__(self, texts: Sequence[str], values: Sequence[T]) -> None:
        self._texts = tuple(texts)
        self._values = tuple(values)

    def search(self, text: str, k: int = 5) -> list[tuple[float, T]]:
        """Up to ``k`` related texts: cosine and value, nearest first."""
        cosines = self._vectors @ sentence_vectors([text])[0]
        order = [i for i in np.argsort(-cosines, kind="stable")[:k] if cosines[i] >= _RELATED]
        return [(float(cosines[i]), self._values[i]) for i in order]

    @cached_property
    def _vectors(self) -> Float32:
        distinct = list(dict.fromkeys(self._texts))
        vectors = cached_sentence_vectors(distinct, "the labels of the banks")
        rows = {text: row for row, text in enumerate(distinct)}
        return vectors[[rows[text] for text in self._texts]]

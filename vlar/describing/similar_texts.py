"""Which of many texts mean nearly the same: sentence vectors of ``lite``'s text tower."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np

from vlar.encoders.lite.cache import cached
from vlar.encoders.lite.towers import CACHE_FOLDER, TextTower
from vlar.types import Float32

T = TypeVar("T")
_RELATED = 0.6  # cosine below which two labels have little to do with each other


class Nearest(Generic[T]):
    """Finds the texts nearest in meaning.

    Args:
        texts: E texts.
        values: What each of them stands for.
    """

    def __init__(self, texts: Sequence[str], values: Sequence[T]) -> None:
        self._texts = tuple(texts)
        self._values = tuple(values)

    def of(self, text: str, k: int = 5) -> list[tuple[float, T]]:
        """Up to ``k`` related texts: cosine and value, nearest first."""
        cosines = self._vectors @ self._tower([text])[0]
        order = [i for i in np.argsort(-cosines, kind="stable")[:k] if cosines[i] >= _RELATED]
        return [(float(cosines[i]), self._values[i]) for i in order]

    def _embedded(self, text: str) -> Float32:
        return self._tower([text])[0]

    @cached_property
    def _tower(self) -> TextTower:
        return TextTower()

    @cached_property
    def _vectors(self) -> Float32:
        distinct = list(dict.fromkeys(self._texts))
        key = hashlib.sha256("\0".join(distinct).encode()).hexdigest()[:16]

        def make() -> bytes:
            with ThreadPoolExecutor() as pool:  # the runtime releases the lock; the order stays
                rows = list(pool.map(self._embedded, distinct))
            return np.stack(rows).astype(np.float32).tobytes()

        content = cached(CACHE_FOLDER, f"labels-{key}.bin", make, "the labels of the banks")
        vectors = np.frombuffer(content, np.float32).reshape(len(distinct), -1)
        rows = {text: row for row, text in enumerate(distinct)}
        return vectors[[rows[text] for text in self._texts]]

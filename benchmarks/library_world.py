"""Made rows and queries for ``library_scale.py``, which describes their distribution."""

from __future__ import annotations

from typing import Any

import numpy as np

DIM, TOPICS, WINDOWS = 512, 3000, 10


class World:
    """Source of the made vectors."""

    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        self.spectrum = np.arange(1, DIM + 1) ** -0.35
        self.cone, self.gap = (unit(draw.normal(size=DIM)) for _ in range(2))
        self.topics = unit(draw.normal(size=(TOPICS, DIM)) * self.spectrum)
        self.sizes = 1 / np.arange(5, TOPICS + 5)
        self.sizes /= self.sizes.sum()

    def noise(self, draw: Any, count: int) -> Any:
        return unit(draw.normal(size=(count, DIM)) * self.spectrum)

    def rows(self, count: int, seed: int) -> Any:
        draw = np.random.default_rng(seed)
        videos = -(-count // WINDOWS)
        topics = self.topics[draw.choice(TOPICS, videos, p=self.sizes)]
        centres = 0.8 * self.cone + topics + 0.7 * self.noise(draw, videos)
        rows = np.repeat(centres, WINDOWS, 0)[:count] + 0.35 * self.noise(draw, count)
        return unit(rows).astype(np.float16).astype(np.float32)

    def texts(self, count: int, seed: int) -> Any:
        draw = np.random.default_rng(seed)
        first, second = (self.topics[draw.integers(0, TOPICS, count)] for _ in range(2))
        mixed = first + draw.choice([0, 0.6], (count, 1)) * second
        return unit(
            0.5 * self.cone + 0.9 * self.gap + mixed + 0.5 * self.noise(draw, count)
        ).astype(np.float32)


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

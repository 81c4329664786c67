"""How many lists an inverted index must look into, measured on held-out queries.

Queries are texts, which lie apart from the rows of videos, so rows alone would be too easy. Two
groups are measured and both must reach the recall: rows set aside before the training, moved by
noise; and texts of the library's own model, or, where no model is at hand, the middle between two
rows, moved further. Every query is compared with all rows (exactly, from the truth), and the
smallest number of lists is taken that finds enough of the best ten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vlar.index.store import Float16, Int64
from vlar.types import Float32, Float64

NEIGHBOURS = 10
RECALL = 0.99
GROUP = 512
_SURE = 2.0  # standard errors above it: held-out queries are few, others must reach it too
_NOISE, _FAR_NOISE = 0.4, 0.6
_TIE = 1e-4
_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256, 384, 512, 1024)


@dataclass(frozen=True)
class Effort:
    """The lists to look into, and the recall this gave on each group of held-out queries."""

    nprobe: int
    near: float
    far: float


def held_out(rows: Float32, probes: Float32 | None, seed: int = 0) -> Float32:
    """Queries (Q, D): ``GROUP`` of the near group, then the far one (at most ``GROUP``)."""
    draw = np.random.default_rng(seed)

    def moved(vectors: Float32, by: float) -> Float32:
        noise = draw.normal(size=vectors.shape)
        noise *= by / np.linalg.norm(noise, axis=1, keepdims=True)
        return _unit(vectors + noise)

    one, other = (rows[draw.integers(0, len(rows), GROUP)] for _ in range(2))
    if probes is None or not len(probes):
        far = moved(_unit(one.astype(np.float64) + other), _FAR_NOISE)
    else:
        far = np.asarray(probes[draw.permutation(len(probes))[:GROUP]], np.float32)
    return np.ascontiguousarray(np.concatenate([moved(one, _NOISE), far]), np.float32)


class ExactBest:
    """The best similarities of queries (Q, D) to rows that come chunk by chunk."""

    def __init__(self, queries: Float32) -> None:
        self.queries = queries
        self._best = np.full((len(queries), NEIGHBOURS), -np.inf, np.float32)

    def see(self, vectors: Float32 | Float16) -> None:
        """Compare with more rows (N, D)."""
        scores = self.queries @ vectors.astype(np.float32).T
        both = np.concatenate([self._best, scores], axis=1)
        self._best = -np.partition(-both, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]

    @property
    def least(self) -> Float64:
        """(Q,) the similarity of the tenth best row; a row as good as it counts as found."""
        return self._best.min(axis=1).astype(np.float64) - _TIE


def effort(
    search: Callable[[int], tuple[Int64, Float32]], exact: ExactBest, lists: int, rows: int
) -> Effort:
    """The smallest number of lists that surely reaches ``RECALL`` on both groups.

    Args:
        search: For a number of lists: places and similarities (Q, at least 10) of what was found.
        exact: After it has seen all rows.
        lists: How many there are; all are looked into where less is not enough.
        rows: How many there are.
    """
    wanted = min(NEIGHBOURS, rows)
    steps: Sequence[int] = [*(step for step in _STEPS if step < lists), lists]
    result = Effort(lists, 0.0, 0.0)
    for nprobe in steps:
        _, scores = search(nprobe)
        found = (scores >= exact.least[:, None]).sum(axis=1).clip(max=wanted) / wanted
        near, far = found[:GROUP], found[GROUP:]
        result = Effort(nprobe, float(near.mean()), float(far.mean()))
        if min(_surely(near), _surely(far)) >= RECALL:
            break
    return result


def _surely(found: Float64) -> float:
    return float(found.mean() - _SURE * found.std() / np.sqrt(len(found)))


def _unit(vectors: Float32 | Float64) -> Float32:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

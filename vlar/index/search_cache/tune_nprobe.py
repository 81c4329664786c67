"""Number of lists of an inverted index to search, measured on held-out queries.

Queries are texts, which lie apart from the rows of videos, so rows alone would be too easy. Two
groups are measured, and both must reach the recall. The near group is rows that the training did
not use, moved by noise. The far group is texts of the library's own model or, where no model is
loaded, the middle between two rows, moved further. Every query is compared with all stored rows,
and the smallest number of lists that finds enough of the best ten is taken.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vlar.index.rows import Float16, Int64
from vlar.numeric import unit
from vlar.types import Float32, Float64

NEIGHBOURS = 10
# Asked of the held-out queries, with some standard errors to spare, so that others reach 0.99: a
# few texts are much harder than the rest, and a sample may hold none of them.
RECALL = 0.993
NEAR, FAR = 256, 768
_SURE = 2.0
_NOISE, _FAR_NOISE = 0.4, 0.6
_TIE = 2e-6  # rounding; equal rows (copies) count, rows that are only near do not
_STEPS = (*range(1, 16), *range(16, 64, 4), *range(64, 256, 16), *range(256, 2049, 64))


@dataclass(frozen=True)
class Effort:
    """The lists that a query searches, and the recall of each group of held-out queries."""

    nprobe: int
    near: float
    far: float


def held_out(rows: Float32, probes: Float32 | None, seed: int = 0) -> Float32:
    """Queries (Q, D): ``NEAR`` of the near group, then the far one (at most ``FAR``)."""
    draw = np.random.default_rng(seed)

    def moved(vectors: Float32, by: float) -> Float32:
        noise = draw.normal(size=vectors.shape)
        noise *= by / np.linalg.norm(noise, axis=1, keepdims=True)
        return unit(vectors + noise)

    one, other = (rows[draw.integers(0, len(rows), FAR)] for _ in range(2))
    if probes is None or not len(probes):
        far = moved(unit(one.astype(np.float64) + other), _FAR_NOISE)
    else:
        far = np.asarray(probes[draw.permutation(len(probes))[:FAR]], np.float32)
    return np.ascontiguousarray(np.concatenate([moved(one[:NEAR], _NOISE), far]), np.float32)


class ExactBest:
    """The best similarities of queries (Q, D) to rows that arrive chunk by chunk."""

    def __init__(self, queries: Float32) -> None:
        self.queries = queries
        self._best = np.full((len(queries), NEIGHBOURS), -np.inf, np.float32)
        self._places = np.full((len(queries), NEIGHBOURS), -1, np.int64)
        self._seen = 0

    def add(self, vectors: Float32 | Float16) -> None:
        """Compare with more rows (N, D)."""
        scores = self.queries @ vectors.astype(np.float32).T
        places = np.broadcast_to(self._seen + np.arange(len(vectors)), scores.shape)
        both = np.concatenate([self._best, scores], axis=1)
        keep = np.argpartition(-both, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
        self._best = np.take_along_axis(both, keep, axis=1)
        both_places = np.concatenate([self._places, places], axis=1)
        self._places = np.take_along_axis(both_places, keep, axis=1)
        self._seen += len(vectors)

    def found(self, places: Int64, scores: Float32, exact: bool) -> Float64:
        """(Q,) the share of the best ten rows that is among places (Q, k) with scores.

        Where the scores are ``exact``, a row as good as the tenth best counts as one of them.
        """
        wanted = min(NEIGHBOURS, self._seen)
        if exact:
            least = self._best.min(axis=1, where=self._places >= 0, initial=2.0) - _TIE
            hits = (scores >= least[:, None]).sum(axis=1)
        else:
            hits = (self._places[:, :, None] == places[:, None]).any(axis=2).sum(axis=1)
        return hits.clip(max=wanted) / wanted


def effort(
    search: Callable[[int], tuple[Int64, Float32]], best: ExactBest, lists: int, exact: bool
) -> Effort:
    """The smallest number of lists that surely reaches ``RECALL`` on both groups.

    Args:
        search: For a number of lists: places and scores (Q, k) of what is proposed for ten rows.
        best: The exact answers, after all rows were added.
        lists: Number of lists; all are searched where fewer do not suffice.
        exact: Whether the scores are those of the stored vectors.
    """
    results: dict[int, Effort] = {}

    def enough(nprobe: int) -> bool:
        found = best.found(*search(nprobe), exact)
        near, far = found[:NEAR], found[NEAR:]
        results[nprobe] = Effort(nprobe, float(near.mean()), float(far.mean()))
        return min(_surely(near), _surely(far)) >= RECALL

    steps = [*(step for step in _STEPS if step < lists), lists]
    place = bisect.bisect_left(steps, True, hi=len(steps) - 1, key=enough)
    if steps[place] not in results:
        enough(steps[place])
    return results[steps[place]]


def _surely(found: Float64) -> float:
    return float(found.mean() - _SURE * found.std() / np.sqrt(len(found)))

"""A head that learns from judged rows; its prior are the words of the query.

The log odds of a row are those of the words plus a linear function of its vector, a Gaussian
process of one linear kernel a block (objects, motion, ...) with the words as its mean. So a "yes"
to what the words expect moves little, a surprising one moves much, and ten move more than one. Half
of that function is the mean of the rows with "yes" less a third of the mean of those with "no":
alone each gains less (evals/results/search.json).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import QueryError
from vlar.library.manifest import BlockSlice, from_text
from vlar.library.query.candidates import ScoredSpan, Snapshot
from vlar.library.query.grammar import Leaf
from vlar.model.library_model import LibraryModel
from vlar.numeric import sigmoid, unit
from vlar.types import Float32, Float64

SPREAD = 12.0  # of the kernel of a block, in log odds; chosen by evals/results/search.json
_MEANS = 0.5  # weight of the means of judged rows, in spreads; chosen by evals/results/search.json
_STEPS = 50
_SAMPLE = 256  # rows whose mean weighs nothing
_RATED = 64  # of them, by which the words are weighed
_EDGE = 1e-9  # of probabilities, before their log odds
_LEAST_GAIN = 1e-3


@dataclass(frozen=True)
class FeedbackHead:
    """Result of learning from judgements.

    Attributes:
        words: (D,) unit vector of the words.
        shift: (D,) weights of a row's vector in log odds.
        offset: Log odds that are added to every row.
        query: (D,) unit vector that proposes rows: words and shift in one.
        shares: How much each block decides the order, 0 to 1; they sum to 1.
        gain: Log odds that a cosine with the words is worth.
    """

    words: Float32
    shift: Float32
    offset: float
    query: Float32
    shares: Mapping[str, float]
    gain: float = 1.0

    def probability(self, vectors: Float32, by_words: npt.NDArray[np.floating]) -> Float64:
        """(N,) probabilities of rows (N, D) from those by the words alone (N,)."""
        moved = vectors.astype(np.float64) @ self.shift.astype(np.float64) + self.offset
        return sigmoid(log_odds(by_words) + moved)


class TaughtModel:
    """A model in which some queries are answered by heads; all else is the model's own."""

    english = few_words = False  # judgements decide, not words alone

    def __init__(self, model: LibraryModel, heads: Sequence[FeedbackHead]) -> None:
        self._model = model
        self._heads = {head.query.tobytes(): head for head in heads}

    def __getattr__(self, name: str) -> Any:
        """Attribute of the model."""
        return getattr(self._model, name)

    def heads(self, query: Float32) -> tuple[tuple[bytes, float], ...]:
        """Shift and offset of each head that answers a query (D,); one may stand on another."""
        if (head := self._heads.get(query.tobytes())) is None:
            return ()
        below = self._model.heads(head.words) if isinstance(self._model, TaughtModel) else ()
        return ((head.shift.tobytes(), head.offset), *below)

    def match_probability(
        self, vectors: Float32, query: Float32, *everyday: Float64
    ) -> Float32 | Float64:
        """Probability (N,) that rows (N, D) answer a query (D,), which may be that of a head."""
        head = self._heads.get(query.tobytes())
        if head is None:
            return self._model.match_probability(vectors, query, *everyday)
        by_words = self._model.match_probability(vectors, head.words, *everyday)
        return head.probability(vectors, by_words)


def taught(
    snapshot: Snapshot, queries: Mapping[Leaf, Float32], judged: Mapping[int, bool]
) -> tuple[Snapshot, dict[Leaf, Float32], Mapping[str, float]]:
    """The snapshot and the one query of a plain phrase after judgements, and what decides now.

    Args:
        snapshot: The library.
        queries: (D,) vector of the phrase.
        judged: Whether each judged row shows what was meant, by row id.

    Raises:
        QueryError: a row is not in the library, or damaged.
    """
    ((leaf, words),) = queries.items()
    head, spans = taught_head(snapshot, words, judged)
    model = TaughtModel(snapshot.model, [head])
    return replace(snapshot, model=model, judged=spans), {leaf: head.query}, head.shares


def taught_head(
    snapshot: Snapshot, words: Float32, judged: Mapping[int, bool]
) -> tuple[FeedbackHead, tuple[ScoredSpan, ...]]:
    """The head of judgements of rows of a library, and the moments that were judged.

    Args:
        snapshot: The library.
        words: (D,) vector of the phrase.
        judged: Whether each judged row shows what was meant, by row id.

    Raises:
        QueryError: a row is not in the library, or damaged.
    """
    store, manifest = snapshot.store, snapshot.manifest
    batch = store.rows(sorted(judged), manifest.dim)
    if absent := sorted(judged.keys() - set(batch.ids.tolist())):
        raise QueryError(
            f"row {absent[0]} is judged, but the library does not have it; judge hits of this "
            "library as it is now (Hit.row)"
        )
    truth = [judged[row_id] for row_id in batch.ids.tolist()]
    blocks = from_text(manifest.blocks)
    head = learn(
        words, batch.vectors, truth, sample_of(snapshot), snapshot.model, blocks, snapshot.among
    )
    spans = tuple(
        ScoredSpan(int(row_id), int(video_id), start_s, end_s, 1.0)
        for row_id, video_id, (start_s, end_s) in zip(
            batch.ids, batch.video_ids, batch.spans, strict=True
        )
    )
    return head, spans


def sample_of(snapshot: Snapshot) -> Float32:
    """Vectors (N, D) of rows that lie evenly among all of the library, kept with its cache."""
    cache = snapshot.cache
    assert cache is not None  # a plain phrase is answered by it

    def read() -> Float32:
        ids = cache.engine.ids()
        chosen = ids[np.unique(np.linspace(0, len(ids) - 1, _SAMPLE).astype(np.int64))]
        return snapshot.store.rows(chosen.tolist(), snapshot.manifest.dim).vectors

    return cache.held.keep("sample", read)


def log_odds(probability: npt.NDArray[np.floating]) -> Float64:
    """Log odds (N,) of probabilities (N,)."""
    inside = np.clip(np.asarray(probability, np.float64), _EDGE, 1 - _EDGE)
    return np.log(inside) - np.log1p(-inside)


def learn(
    words: Float32,
    vectors: Float32,
    truth: Sequence[bool],
    sample: Float32,
    model: LibraryModel,
    blocks: Sequence[BlockSlice],
    among: Callable[[Float64], Float64] = lambda alone: alone,
) -> FeedbackHead:
    """The head of some judgements.

    What the words expect of a row is the probability of a hit in this library, so a "no" to
    the best of many moves little, and a "yes" much.

    Args:
        words: (D,) unit vector of the words.
        vectors: (J, D) judged rows.
        truth: J judgements: True where a row shows what was meant.
        sample: (N, D) rows of the library, whose mean weighs nothing.
        model: Rates rows by the words.
        blocks: Parts of a vector; empty for one.
        among: Probabilities of hits of the library from those of its rows alone.
    """
    alone = np.asarray(model.match_probability(vectors, words), np.float64)
    prior = log_odds(among(alone))
    rated = sample[:: max(len(sample) // _RATED, 1)]
    typical = log_odds(np.asarray(model.match_probability(rated, words)))
    centre = sample.astype(np.float64).mean(axis=0)
    parts = _parts(blocks, len(words))
    rows = vectors.astype(np.float64) - centre
    scaled = rows.copy()
    for _, part, weight in parts:
        scaled[:, part] *= SPREAD / weight**2
    right = np.asarray(truth, np.float64)
    means = right / max(right.sum(), 1) - (1 - right) / (3 * max((1 - right).sum(), 1))
    shift = (_dual(scaled @ rows.T, prior, right) + _MEANS * means) / 2 @ scaled
    gain = _gain(rated.astype(np.float64) @ words.astype(np.float64), typical)
    joined = gain * words.astype(np.float64) + shift
    spread = {name: float((sample[:, part] @ joined[part]).std()) for name, part, _ in parts}
    total = sum(spread.values()) or 1.0
    return FeedbackHead(
        words,
        shift.astype(np.float32),
        -float(shift @ centre),
        unit(joined),
        {name: value / total for name, value in spread.items()},
        gain,
    )


def _parts(blocks: Sequence[BlockSlice], dim: int) -> list[tuple[str, slice, float]]:
    """Name, place and weight of each block; one of a single number belongs to that before it."""
    parts: list[tuple[str, slice, float]] = []
    for block in blocks:
        if block.width == 1 and parts:
            name, before, weight = parts[-1]
            parts[-1] = name, slice(before.start, block.place.stop), weight
        else:
            parts.append((block.name, block.place, block.weight or 1.0))
    return parts or [("all", slice(0, dim), 1.0)]


def _dual(kernel: Float64, prior: Float64, truth: Float64) -> Float64:
    """(J,) ``truth - sigmoid(prior + kernel @ pull)``, by Newton's steps that are halved until the
    posterior rises.
    """
    sign = 2 * truth - 1

    def cost(pull: Float64) -> float:
        moved = kernel @ pull
        return float(np.logaddexp(0, -sign * (prior + moved)).sum() + pull @ moved / 2)

    pull = np.zeros(len(truth))
    for _ in range(_STEPS):
        chance = sigmoid(prior + kernel @ pull)
        wrong = pull - (truth - chance)
        if np.abs(wrong).max(initial=0.0) < 1e-9:
            break
        slope = np.eye(len(truth)) + (chance * (1 - chance))[:, None] * kernel
        step, before = np.linalg.solve(slope, wrong), cost(pull)
        size = 1.0
        while size > 1e-6 and cost(pull - size * step) > before:
            size /= 2
        pull = pull - size * step
    return pull


def _gain(similarity: Float64, typical: Float64) -> float:
    """Log odds that a cosine is worth by the words alone: the slope over the sample."""
    apart = similarity - similarity.mean()
    slope = float(apart @ typical / max(float(apart @ apart), math.ulp(1.0)))
    return max(slope, _LEAST_GAIN)

"""Similarity to probability, and the right to say "none of these".

The rule, for a row (window vector) ``v``, concepts ``c`` of C labels, a background bank ``b`` of
everyday actions, and content-free references ``m`` (what the encoder answers to blank and noise
frames):

1. Logits are cosines times the encoder's ``logit_scale``.
2. Background entries that mean the same as a label are left out: those whose text vector is as
   near to a label's as the nearest neighbours inside the bank are to each other
   (:func:`kept_background`). So "cycling" does not take from "riding a bike".
3. ``unknown`` gets one logit, ``log mean exp(background logits) + log C + log prior odds``. If the
   labels fit no better than everyday actions at large, the labels together and ``unknown`` stand at
   the prior, whatever the sizes of the list and of the bank.
4. A softmax over the C labels and ``unknown`` gives probabilities that sum to 1.
5. A row that lies as near to a content-free reference as the references lie to each other shows
   nothing: its mass moves to ``unknown`` (:class:`ContentFree`).

The answer is unknown where ``unknown`` weighs more than all labels together (above 0.5). Cosines
between a video and a text mean little by themselves (0.2 to 0.4 for everything with CLIP); the
background is what makes a score comparable between videos. The likelihood ratio of step 3 is the
energy score (Liu et al. 2020) minus that of the background.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlar.errors import UsageError
from vlar.types import Float32, Float64, UInt8

UNKNOWN_PRIOR = 0.2
UNKNOWN_THRESHOLD = 0.5
MATCH_PRIOR = 0.05
_SAME_MEANING_QUANTILE = 0.9
_FEWEST_BACKGROUND = 32
_STEEPNESS = 4.0  # logit at the reference's own neighbourhood: 0.98 of the mass moves


@dataclass(frozen=True)
class Scores:
    """Answers for N rows and C labels.

    Attributes:
        similarity: (N, C) cosines.
        probability: (N, C); with ``unknown_probability`` each row sums to 1.
        unknown_probability: (N,) that none of the labels fits.
    """

    similarity: Float32
    probability: Float64
    unknown_probability: Float64

    @property
    def unknown(self) -> npt.NDArray[np.bool_]:
        """(N,) True where none of the labels is the better answer than all of them together."""
        return self.unknown_probability > UNKNOWN_THRESHOLD


class ContentFree:
    """Tells rows that show nothing (blank, noise) by the encoder's answer to such frames.

    The nearness at which half of the mass moves is the median cosine between two references: a row
    that near to one of them is their like. It is taken from the encoder itself, so it suits every
    space.

    Args:
        references: (M, D) unit vectors of content-free clips; with fewer than 3 nothing is told.
    """

    def __init__(self, references: Float32) -> None:
        self._references = references
        self._middle, self._slope = math.inf, 0.0
        if len(references) < 3:
            return
        cosines = (references @ references.T).astype(np.float64)
        others = cosines[~np.eye(len(cosines), dtype=bool)].reshape(len(cosines), -1)
        self._middle = float(np.median(others))
        nearest = float(np.median(others.max(axis=1)))
        self._slope = _STEEPNESS / max(nearest - self._middle, 1e-3)

    def probability(self, rows: Float32) -> Float64:
        """(N,) probability that a row shows nothing, for (N, D) unit rows."""
        if math.isinf(self._middle):
            return np.zeros(len(rows))
        nearness = (rows @ self._references.T).max(axis=1).astype(np.float64)
        return sigmoid(self._slope * (nearness - self._middle))


class Scorer:
    """Scores rows against one label list; what depends on the labels alone is done once.

    Args:
        concepts: (C, D) unit vectors of the labels.
        background: (B, D) unit vectors of the background bank; (0, D) for none.
        logit_scale: Factor from cosine to logit (the encoder's).
        content_free: (M, D) unit vectors of content-free clips; None for none.
        unknown_prior: Probability, before looking, that none of the labels fits.

    Raises:
        UsageError: no label, widths that differ, or a prior outside 0..1.
    """

    def __init__(
        self,
        concepts: Float32,
        background: Float32,
        *,
        logit_scale: float,
        content_free: Float32 | None = None,
        unknown_prior: float = UNKNOWN_PRIOR,
    ) -> None:
        _check(concepts, background, logit_scale, unknown_prior)
        self._concepts = concepts
        self._background = background[kept_background(concepts, background)]
        self._scale = logit_scale
        self._content_free = ContentFree(concepts[:0] if content_free is None else content_free)
        self._offset = math.log(len(concepts)) + _log_odds(unknown_prior)

    def score(self, video: Float32) -> Scores:
        """Scores of (N, D) unit rows."""
        similarity = video @ self._concepts.T
        background = log_mean_exp(self._scale * (video @ self._background.T).astype(np.float64))
        probability, unknown = softmax_with_unknown(
            self._scale * similarity.astype(np.float64), background + self._offset
        )
        nothing = self._content_free.probability(video)
        return Scores(
            similarity=similarity.astype(np.float32),
            probability=probability * (1.0 - nothing)[:, None],
            unknown_probability=nothing + (1.0 - nothing) * unknown,
        )


def score(
    video: Float32,
    concepts: Float32,
    background: Float32,
    *,
    logit_scale: float,
    content_free: Float32 | None = None,
    unknown_prior: float = UNKNOWN_PRIOR,
) -> Scores:
    """Score (N, D) rows against (C, D) concepts once; see :class:`Scorer`."""
    scorer = Scorer(
        concepts,
        background,
        logit_scale=logit_scale,
        content_free=content_free,
        unknown_prior=unknown_prior,
    )
    return scorer.score(video)


def match_probability(
    rows: Float32,
    query: Float32,
    background: Float32,
    *,
    logit_scale: float,
    content_free: Float32 | None = None,
    prior: float = MATCH_PRIOR,
) -> Float64:
    """The probability that each row answers a text, against the background.

    The same rule with one label, and a lower prior: few rows of a library answer a query. For a
    fixed row it rises with the similarity.

    Args:
        rows: (N, D) unit vectors.
        query: (D,) unit vector of the text.
        background: (B, D) unit vectors of the background bank.
        logit_scale: Factor from cosine to logit (the encoder's).
        content_free: (M, D) unit vectors of content-free clips; None for none.
        prior: Probability, before looking, that a row answers the text.

    Returns:
        (N,) probabilities.
    """
    scores = score(
        rows,
        query[None],
        background,
        logit_scale=logit_scale,
        content_free=content_free,
        unknown_prior=1.0 - prior,
    )
    return scores.probability[:, 0]


def kept_background(concepts: Float32, background: Float32) -> npt.NDArray[np.bool_]:
    """(B,) True for the background entries that mean something else than every label.

    Two texts mean the same if they are nearer than nine in ten entries of the bank are to their
    nearest neighbour: a threshold the text space itself gives. At least the 32 entries that are
    farthest from the labels are kept, also where the labels cover the whole bank.
    """
    if len(background) < 2:
        return np.ones(len(background), dtype=bool)
    among = background @ background.T
    np.fill_diagonal(among, -1.0)
    threshold = float(np.quantile(among.max(axis=1), _SAME_MEANING_QUANTILE))
    nearest = (background @ concepts.T).max(axis=1)
    keep = nearest < min(threshold, 1.0 - 1e-3)
    if keep.sum() < _FEWEST_BACKGROUND:
        keep[np.argsort(nearest, kind="stable")[:_FEWEST_BACKGROUND]] = True
    return keep


def softmax_with_unknown(logits: Float64, unknown_logit: Float64) -> tuple[Float64, Float64]:
    """Softmax over C labels and ``unknown``.

    Args:
        logits: (N, C).
        unknown_logit: (N,); ``-inf`` gives no mass to ``unknown``.

    Returns:
        Probabilities (N, C) and (N,), which sum to 1 together.
    """
    top = np.maximum(logits.max(axis=1), unknown_logit)
    labels = np.exp(logits - top[:, None])
    unknown = np.exp(unknown_logit - top)
    total = labels.sum(axis=1) + unknown
    return labels / total[:, None], unknown / total


def log_mean_exp(logits: Float64) -> Float64:
    """(N,) log of the mean of exp over the last axis of (N, B); ``-inf`` where B is 0."""
    if logits.shape[1] == 0:
        return np.full(len(logits), -np.inf)
    top = logits.max(axis=1)
    return top + np.log(np.exp(logits - top[:, None]).mean(axis=1))


def sigmoid(x: Float64) -> Float64:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def fit_temperature(
    scores: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    *,
    lowest: float = 0.1,
    highest: float = 1000.0,
) -> float:
    """The factor of the scores that makes their softmax fit best (negative log-likelihood).

    The likelihood is convex in the factor, so a bounded scalar search finds it.

    Args:
        scores: (n, C) cosines or logits.
        labels: (n,) index of the right label.
        lowest: Smallest factor tried.
        highest: Largest factor tried.

    Returns:
        The factor: a new ``logit_scale`` for cosines, 1 / temperature for logits.

    Raises:
        UsageError: no row, or the shapes do not agree.
    """
    if scores.ndim != 2 or len(scores) == 0 or len(scores) != len(labels):
        raise UsageError(
            f"calibration needs (n, C) scores and n labels; got {scores.shape} and {labels.shape}"
        )
    values = scores.astype(np.float64)
    right = values[np.arange(len(values)), labels]

    def loss(log_factor: float) -> float:
        logits = math.exp(log_factor) * values
        top = logits.max(axis=1)
        total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
        return float((total - math.exp(log_factor) * right).mean())

    return math.exp(_golden_section(loss, math.log(lowest), math.log(highest)))


def expected_calibration_error(
    probability: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_], *, bins: int = 15
) -> float:
    """Mean gap between stated probability and share of right answers, weighted by bin size.

    Args:
        probability: (n,) of the answers given.
        correct: (n,) whether the answer was right.
        bins: Equal-width bins (Guo et al. 2017 use 15).

    Returns:
        0 (perfect) to 1; 0 for no row.
    """
    if len(probability) == 0:
        return 0.0
    which = np.minimum((probability * bins).astype(np.int64), bins - 1)
    stated = np.bincount(which, weights=probability, minlength=bins)
    right = np.bincount(which, weights=correct.astype(np.float64), minlength=bins)
    return float(np.abs(stated - right).sum() / len(probability))


def content_free_clips(n_frames: int, height: int, width: int, *, seed: int = 0) -> UInt8:
    """Clips that show nothing: plain colours, noise of several grains, gradients.

    Args:
        n_frames: T frames each.
        height: Pixels.
        width: Pixels.
        seed: Of the noise.

    Returns:
        (M, T, H, W, 3) uint8, M = 12; the noise changes from frame to frame.
    """
    random = np.random.default_rng(seed)
    shape = (n_frames, height, width)
    clips: list[npt.NDArray[np.floating]] = [
        np.broadcast_to(np.array(colour, np.float64), (*shape, 3))
        for colour in ((0, 0, 0), (255, 255, 255), (128, 128, 128), (190, 40, 40), (40, 60, 180))
    ]
    clips.append(random.uniform(0, 256, (*shape, 3)))
    clips.append(random.normal(128, 40, (*shape, 3)))
    clips.append(random.normal(24, 8, (*shape, 3)))
    clips.append(np.repeat(random.uniform(0, 256, (*shape, 1)), 3, axis=-1))
    clips.append(np.repeat(255.0 * random.integers(0, 2, (*shape, 1)), 3, axis=-1))
    coarse = random.uniform(0, 256, (n_frames, -(-height // 8), -(-width // 8), 3))
    clips.append(coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width])
    ramp = np.linspace(0, 255, width)[None, None, :, None]
    clips.append(np.broadcast_to(ramp, (*shape, 3)))
    return np.stack([clip.clip(0, 255).astype(np.uint8) for clip in clips])


def _golden_section(loss: Callable[[float], float], low: float, high: float) -> float:
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > 1e-4:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return (low + high) / 2.0


def _log_odds(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)


def _check(concepts: Float32, background: Float32, logit_scale: float, prior: float) -> None:
    if concepts.ndim != 2 or len(concepts) == 0:
        raise UsageError("there is no label to score; give at least one")
    if background.ndim != 2 or background.shape[1] != concepts.shape[1]:
        raise UsageError(
            f"background {background.shape} and labels {concepts.shape} are not of one space"
        )
    if not logit_scale > 0.0:
        raise UsageError(f"logit_scale is {logit_scale}; it must be above 0")
    if not 0.0 < prior < 1.0:
        raise UsageError(f"the prior probability is {prior}; it must lie between 0 and 1")

"""Conversion of similarity to probability, with "none of these" as an answer.

The rule, for a row (window vector) ``v``, concepts ``c`` of C labels, a background bank ``b`` of
everyday actions, and content-free references ``m`` (what the encoder answers to blank and noise
frames):

1. Logits are cosines times the encoder's ``logit_scale``, less what a label owes to being generic:
   in many spaces a text that is near to every text of the bank is also near to every video (a
   hub). The order of the probabilities is therefore not always that of the cosines.
2. Background entries that mean the same as a label are left out: those whose text vector is as
   near to a label's as the nearest neighbours inside the bank are to each other
   (:func:`kept_background`). So "cycling" does not take from "riding a bike".
3. ``unknown`` gets one logit, ``log mean exp(background logits) + log C + log prior odds``. If the
   labels fit no better than everyday actions at large, the labels together and ``unknown`` stand at
   the prior, whatever the sizes of the list and of the bank.
4. A softmax over the C labels and ``unknown`` gives probabilities that sum to 1.
5. A row that lies as near to a content-free reference as the references lie to each other shows
   nothing: its mass moves to ``unknown`` (:class:`ContentFree`).
6. Where nothing was fitted to the encoder, two bounds hold (``LabelScorer``, ``bounded``;
   evals/spaces.py). A row's scale is at most the one at which the sum over the bank is one of many
   terms: above ``sqrt(2 log B) / spread`` of its B background cosines a single entry decides
   (Derrida 1981, the random energy model), and a larger bank would answer otherwise. And a list of
   more than 20 labels has to beat the height that the best of as many everyday actions exceeds in
   one of four clips (:func:`chance_height`), since the best of many is high by chance.

The answer is unknown where ``unknown`` weighs more than all labels together (above 0.5). Cosines
between a video and a text mean little by themselves (0.2 to 0.4 for everything with CLIP); the
background is what makes a score comparable between videos. The likelihood ratio of step 3 is the
energy score (Liu et al. 2020) minus that of the background.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlar.errors import UsageError
from vlar.heads.base import Scores
from vlar.numeric import sigmoid, unit
from vlar.types import Float32, Float64

_WHOLE = 1e-6  # that shares of all sensors may miss of 1, by rounding
_GROUP = 32  # rows that are compared with the background at a time
_CANCELS = 0.999  # of a sum: where more of it is taken off, the rest is summed by itself
_STEEPNESS = 4.0  # logit at the reference's own neighbourhood: 0.98 of the mass moves


class ContentFree:
    """Recognises rows that show nothing (blank, noise) by their nearness to such clips.

    A row that lies as near to a reference as the references lie to each other is treated as
    content-free: half of its mass moves at the median cosine between two references. That cosine
    comes from the encoder itself, so it suits every space.

    Args:
        references: (M, D) float32 unit vectors of content-free clips; fewer than 3 disable the
            check.
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


UNKNOWN_PRIOR = 0.35
MATCH_PRIOR = 0.05
_SAME_MEANING_QUANTILE = 0.9
_FEWEST_BACKGROUND = 32
_FEWEST_FOR_GENERICNESS = 8
_SHORT_LIST = 20  # labels; ``EACH_PRIOR`` is one of as many
GENERICNESS_WEIGHT = 0.15


class LabelScorer(ABC):
    """Scores rows against one label list; what depends on the labels alone is done once.

    Args:
        concepts: (C, D) unit vectors of the labels.
        background: (B, D) unit vectors of the background bank; (0, D) for none.
        logit_scale: Factor from cosine to logit (the encoder's).
        content_free: (M, D) unit vectors of content-free clips; None for none.
        prior: Prior probability, 0..1; None for the one of the class.
        genericness: How much of a label's hubness is taken off; 0 for plain cosines.
        offsets: (C,) what each label loses from its cosine (calibrated stacking); None for nothing.
        parts: Width of each sensor of a bundle in a row, and its share of the logits. A row
            without some sensors is scored as by a bundle of the others.
        bounded: Whether the bounds of step 6 of the module hold.

    Raises:
        UsageError: no label, widths that differ, or a prior outside 0..1.
    """

    prior: ClassVar[float]

    def __init__(
        self,
        concepts: Float32,
        background: Float32,
        *,
        logit_scale: float,
        content_free: Float32 | None = None,
        prior: float | None = None,
        genericness: float = GENERICNESS_WEIGHT,
        offsets: Float64 | None = None,
        parts: Sequence[tuple[int, float]] = (),
        bounded: bool = False,
    ) -> None:
        self._offsets, self._parts, self._bounded = offsets, parts, bounded
        chance = self.prior if prior is None else prior
        check_scorer(concepts, background, logit_scale, chance)
        self._concepts, self._background, self._scale = concepts, background, logit_scale
        self._generic = Genericness(concepts, background, genericness)
        self._content_free = ContentFree(concepts[:0] if content_free is None else content_free)
        self._log_odds = log_odds(chance)

    @abstractmethod
    def score(self, video: Float32) -> Scores:
        """Scores of (N, D) float32 unit rows."""

    def _nothing(self, video: Float32) -> Float64:
        """(N,) probability that rows show nothing, or nothing that words are compared with."""
        shares = ~video.any(axis=1) | video[:, self._filled].any(axis=1)
        return np.where(shares, self._content_free.probability(video), 1.0)

    @cached_property
    def _filled(self) -> npt.NDArray[np.bool_]:
        """(D,) true where a text is not zero: blocks without words are compared with nothing."""
        texts = np.concatenate([self._concepts, self._background])
        return np.asarray((texts != 0).any(axis=0))

    def _logits(self, video: Float32) -> tuple[Float32, Float64, Float64]:
        """(N, C) cosines, (N, C) logits of the labels and (N, B) of the bank."""
        if self._parts and len(video) != 1:
            rows = [self._logits(row[None]) for row in video]
            similarity, labels, background = (
                np.concatenate(part) for part in zip(*rows, strict=True)
            )
            return similarity, labels, background
        concepts, bank, share = self._of_present(video)
        similarity = (video @ concepts.T).astype(np.float32)
        to_background = (video @ bank.T).astype(np.float64)
        of_labels, of_background = self._generic.shares(to_background)
        to_background -= of_background
        scale: Any = self._scale * share
        if self._bounded and (size := to_background.shape[1]) > 1:
            spread = np.maximum(upper_spread(to_background), 1e-9)[:, None]
            scale = np.minimum(scale, math.sqrt(2.0 * math.log(size)) / spread)
        labels = scale * (similarity.astype(np.float64) - of_labels)
        if self._offsets is not None:
            labels -= scale * self._offsets
        return similarity, labels, scale * to_background

    def _chance(self, background: Float64) -> Float64:
        """(N,) logit that a long list has to beat, from those of the bank; ``-inf`` for none."""
        if not self._bounded or len(self._concepts) <= _SHORT_LIST or background.shape[1] < 2:
            return np.full(len(background), -np.inf)
        return chance_height(background, len(self._concepts))

    def _of_present(self, video: Float32) -> tuple[Float32, Float32, float]:
        """Texts as the sensors of a row (1, D) have them, and their share of the logits."""
        ends = np.cumsum([width for width, _ in self._parts])[:-1]
        blocks = np.split(video[0], ends) if self._parts else []
        share = sum(part[1] for part, block in zip(self._parts, blocks, strict=True) if block.any())
        if not 0.0 < share < 1.0 - _WHOLE:
            return self._concepts, self._background, 1.0
        mask = np.concatenate([np.full(len(block), bool(block.any())) for block in blocks])
        return unit(self._concepts * mask), unit(self._background * mask), share


class ZeroShotScorer(LabelScorer):
    """Labels of which one fits, or none; ``prior`` is that of none."""

    prior = UNKNOWN_PRIOR

    @cached_property
    def _kept(self) -> npt.NDArray[np.bool_]:
        return kept_background(self._concepts, self._background)

    def score(self, video: Float32) -> Scores:
        """Scores of (N, D) unit rows."""
        similarity, labels, background = self._logits(video)
        offset = math.log(len(self._concepts)) + self._log_odds
        none_fits = log_mean_exp(background[:, self._kept]) + offset
        longer = math.log(max(1.0 - _SHORT_LIST / len(self._concepts), 1e-9))
        none_fits = np.logaddexp(none_fits, self._chance(background) + longer)
        probability, unknown = softmax_with_unknown(labels, none_fits)
        nothing = self._nothing(video)
        return Scores(
            similarity=similarity,
            probability=probability * (1.0 - nothing)[:, None],
            unknown=nothing + (1.0 - nothing) * unknown,
        )


class Genericness:
    """Hubness of labels: how much of a cosine they owe to being generic.

    A text such as "doing something" lies near to all texts, and in many spaces to all videos (a
    hub). How near a text is to the bank is measured on texts alone; how much that lifts the
    cosines of a row is the slope of its background cosines over it. A small part is taken off:
    a row may rightly be near to generic texts.
    """

    def __init__(
        self, concepts: Float32, background: Float32, weight: float = GENERICNESS_WEIGHT
    ) -> None:
        self._weight = weight
        n = len(background)
        self._of_labels, self._of_background = np.zeros(len(concepts)), np.zeros(n)
        self._slope_weights = np.zeros(n)
        if n < _FEWEST_FOR_GENERICNESS:
            return
        self._of_background = _among(background).mean
        self._of_labels = (concepts @ _among(background).centre).astype(np.float64)
        deviation = self._of_background - self._of_background.mean()
        self._slope_weights = deviation / max(float((deviation**2).sum()), 1e-12)

    def shares(self, to_background: Float64) -> tuple[Float64, Float64]:
        """(N, C) and (N, B) to take off the cosines of rows with (N, B) background cosines."""
        slope = (to_background @ self._slope_weights).clip(min=0.0)[:, None]
        slope = self._weight * slope
        return slope * self._of_labels, slope * self._of_background


def score(
    video: Float32,
    concepts: Float32,
    background: Float32,
    *,
    logit_scale: float,
    content_free: Float32 | None = None,
    unknown_prior: float = UNKNOWN_PRIOR,
) -> Scores:
    """Score (N, D) rows against (C, D) concepts once; see :class:`ZeroShotScorer`."""
    scorer = ZeroShotScorer(
        concepts,
        background,
        logit_scale=logit_scale,
        content_free=content_free,
        prior=unknown_prior,
    )
    return scorer.score(video)


def match_scorer(
    query: Float32,
    background: Float32,
    *,
    logit_scale: float,
    content_free: Float32 | None = None,
    prior: float = MATCH_PRIOR,
    bounded: bool = False,
) -> ZeroShotScorer:
    """The scorer of rows against a text and the background, for ``match_probability``.

    The same rule with one label, and a lower prior: few rows of a library answer a query. For a
    fixed row the probability rises with the similarity.

    Args:
        query: (D,) unit vector of the text.
        background: (B, D) unit vectors of the background bank.
        logit_scale: Factor from cosine to logit (the encoder's).
        content_free: (M, D) unit vectors of content-free clips; None for none.
        prior: Prior probability, 0..1, that a row answers the text.
        bounded: As for ``LabelScorer``.
    """
    return ZeroShotScorer(
        query[None],
        background,
        logit_scale=logit_scale,
        content_free=content_free,
        prior=1.0 - prior,
        bounded=bounded,
    )


def match_probability(
    rows: Float32,
    query: Float32,
    background: Float32,
    *,
    logit_scale: float,
    content_free: Float32 | None = None,
    prior: float = MATCH_PRIOR,
) -> Float64:
    """The probability (N,) that each row (N, D) answers a text, against the background.

    Args:
        rows: (N, D) unit vectors.
        query: As for ``match_scorer``, like what follows.
        background: (B, D).
        logit_scale: Factor.
        content_free: (M, D), or None.
        prior: 0..1.
    """
    scorer = match_scorer(
        query, background, logit_scale=logit_scale, content_free=content_free, prior=prior
    )
    return scorer.score(rows).probability[:, 0]


def kept_background(concepts: Float32, background: Float32) -> npt.NDArray[np.bool_]:
    """(B,) True for the background entries that mean something else than every label.

    Two texts mean the same if they are nearer than nine in ten entries of the bank are to their
    nearest neighbour: a threshold the text space itself gives. At least the 32 entries that are
    farthest from the labels are kept, also where the labels cover the whole bank.
    """
    return _kept((background @ concepts.T).max(axis=1)[None], background)[0]


def kept_for_each(concepts: Float32, background: Float32) -> npt.NDArray[np.bool_]:
    """(C, B): :func:`kept_background` of each label alone."""
    return _kept(concepts @ background.T, background)


def _kept(nearness: Float32, background: Float32) -> npt.NDArray[np.bool_]:
    if len(background) < 2:
        return np.ones(nearness.shape, dtype=bool)
    keep = nearness < min(_among(background).same_meaning, 1.0 - 1e-3)
    for row in np.flatnonzero(keep.sum(axis=1) < _FEWEST_BACKGROUND):
        keep[row, np.argsort(nearness[row], kind="stable")[:_FEWEST_BACKGROUND]] = True
    return keep


@dataclass(frozen=True)
class _Among:
    """Cosines among B background entries: the costliest part of making a scorer.

    Attributes:
        background: (B, D) the entries.
        centre: (D,) their mean.
        mean: (B,) mean cosine of each to the others.
        same_meaning: The cosine above which two texts mean the same.
    """

    background: Float32
    centre: Float32
    mean: Float64
    same_meaning: float


_last: list[_Among] = []


def _among(background: Float32) -> _Among:
    """Cached for the last two backgrounds, names and descriptions: many scorers share them."""
    for entry in _last:
        if entry.background is background:
            return entry
    cosines = background @ background.T
    n = len(background)
    mean = (cosines.sum(axis=1, dtype=np.float64) - cosines.diagonal()) / (n - 1)
    np.fill_diagonal(cosines, -1.0)
    same_meaning = float(np.quantile(cosines.max(axis=1), _SAME_MEANING_QUANTILE))
    constants = _Among(background, background.mean(axis=0), mean, same_meaning)
    _last[:] = [constants, *_last[:1]]
    return constants


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


def upper_spread(values: Float32 | Float64) -> Float64:
    """(N,) half of what the 97.7 % quantile of (N, B) values lies above their median.

    Of normal values it is the standard deviation. What lies below the median does not count: many
    spaces have texts that are far from all clips, and these compete with no label.
    """
    size = values.shape[1]
    middle, high = size // 2, min(int(0.977 * size), size - 1)
    ordered = np.partition(values, (middle, high), axis=1)
    return (ordered[:, high] - ordered[:, middle]).astype(np.float64) / 2.0


def chance_height(background: Float64, n_labels: int) -> Float64:
    """(N,) logit that the best of ``n_labels`` everyday actions exceeds in one of four clips.

    Beyond the bank's own entries its upper tail is taken to be exponential (Hill 1975).

    Args:
        background: (N, B) logits of the bank, B at least 2.
        n_labels: C.
    """
    size = background.shape[1]
    share = size * (1.0 - 0.75 ** (1.0 / n_labels))  # of the entries that lie above the height
    count = max(min(max(size // 50, 16), size // 2), 1)
    if share >= count:
        rank = size - min(round(share), size)
        return np.partition(background, rank, axis=1)[:, rank]
    top = np.partition(background, size - count, axis=1)[:, size - count :]
    least = top.min(axis=1)
    return least + (top.mean(axis=1) - least) * math.log(count / share)


def log_mean_exp(logits: Float64) -> Float64:
    """(N,) log of the mean of exp over the last axis of (N, B); ``-inf`` where B is 0."""
    if logits.shape[1] == 0:
        return np.full(len(logits), -np.inf)
    top = logits.max(axis=1)
    return top + np.log(np.exp(logits - top[:, None]).mean(axis=1))


def log_odds(probability: float) -> float:
    """log(p / (1 - p))."""
    return math.log(probability) - math.log1p(-probability)


def check_scorer(concepts: Float32, background: Float32, logit_scale: float, prior: float) -> None:
    """Raise UsageError unless these can be scored with."""
    if concepts.ndim != 2 or len(concepts) == 0:
        raise UsageError("no label to score; give at least one")
    if background.ndim != 2 or background.shape[1] != concepts.shape[1]:
        raise UsageError(
            f"background {background.shape} and labels {concepts.shape} are not of one space"
        )
    if not logit_scale > 0.0:
        raise UsageError(f"logit_scale is {logit_scale}; it must be above 0")
    if not 0.0 < prior < 1.0:
        raise UsageError(f"the prior probability is {prior}; it must lie between 0 and 1")


@dataclass(frozen=True)
class EvidenceCurve:
    """Conversion of the evidence for a text to log odds: ``slope * evidence + offset``.

    Attributes:
        discount: Share of what the background scores that is taken off the logit, 0..1.
        slope: Above 0.
        offset: Log odds without evidence.
    """

    discount: float
    slope: float
    offset: float


class AskedScorer:
    """Texts that are asked one by one, each judged by its own evidence in a row.

    The evidence is ``logit - discount * log mean exp(background logits)``, without the entries of
    the background that mean the same as the text. A logistic curve turns it into a probability, so
    rows are ranked by the number that is stated.

    Args:
        queries: (C, D) unit vectors of texts in the role of a query.
        background: (B, D) unit vectors of the background bank.
        logit_scale: Factor from cosine to logit (the encoder's).
        curve: From evidence to log odds.
        content_free: (M, D) unit vectors of content-free clips; None for none.
    """

    def __init__(
        self,
        queries: Float32,
        background: Float32,
        *,
        logit_scale: float,
        curve: EvidenceCurve,
        content_free: Float32 | None = None,
    ) -> None:
        check_scorer(queries, background, logit_scale, 0.5)
        self._queries, self._background, self._scale = queries, background, logit_scale
        self._curve = curve
        self._content_free = ContentFree(queries[:0] if content_free is None else content_free)
        self._kept = kept_for_each(queries, background).astype(np.float64)

    def score(self, video: Float32, everyday: Float64 | None = None) -> Scores:
        """Scores of (N, D) unit rows; the probabilities are independent of each other.

        Args:
            video: The rows.
            everyday: (N, 3) their figures; None: computed here.
        """
        similarity = (video @ self._queries.T).astype(np.float32)
        evidence = self._scale * similarity.astype(np.float64)
        if everyday is not None:
            nothing = everyday[:, 2]
            evidence -= self._curve.discount * self._answered(video, everyday)
        else:
            nothing = self._content_free.probability(video)
            if len(self._background):
                logits = self._logits(video)
                top = logits.max(axis=1, keepdims=True)
                odds = np.exp(logits - top) @ self._kept.T / self._kept.sum(axis=1)
                evidence = evidence - self._curve.discount * (top + np.log(odds))
        shows = 1.0 - nothing[:, None]
        probability = sigmoid(self._curve.slope * evidence + self._curve.offset) * shows
        return Scores(similarity, probability, 1.0 - probability.max(axis=1))

    def everyday(self, video: Float32) -> Float64:
        """Figures of (N, D) unit rows that no text changes; a row has the same in any company.

        Returns:
            (N, 3) the greatest background logit, the sum of exp of all of them less it, and the
            probability that the row shows nothing.
        """
        figures = np.zeros((len(video), 3))
        for begin in range(0, len(video), _GROUP):
            part = video[begin : begin + _GROUP]
            # Products round by their shape: each group is a full one.
            filled = np.zeros((_GROUP, video.shape[1]), np.float32)
            filled[: len(part)] = part
            logits = self._logits(filled)
            top = logits.max(axis=1, initial=-np.inf)
            total = np.exp(logits - top[:, None]).sum(axis=1)
            columns = top, total, self._content_free.probability(filled)
            figures[begin : begin + _GROUP] = np.stack(columns, axis=1)[: len(part)]
        return figures

    def _answered(self, video: Float32, everyday: Float64) -> Float64:
        """(N, C) log mean exp of the background logits, less what means the same as each text."""
        top, total = everyday[:, 0], everyday[:, 1]
        answered = np.zeros((len(video), len(self._queries)))
        for column, keep in enumerate(self._kept > 0 if len(self._background) else ()):
            off = np.exp(self._logits(video, ~keep) - top[:, None]).sum(axis=1)
            rest = total - off
            if (few := off > _CANCELS * total).any():
                rest[few] = np.exp(self._logits(video[few], keep) - top[few, None]).sum(axis=1)
            answered[:, column] = top + np.log(rest / keep.sum())
        return answered

    def _logits(self, video: Float32, entries: Any = slice(None)) -> Float64:
        """(N, B) logits of the background, or of a mask (B,) of it."""
        return self._scale * (video @ self._background[entries].T).astype(np.float64)

"""Six distances between sequences of frames, without trained parts.

Sources: OTAM, Cao et al., "Few-shot video classification via temporal alignment", 2020. Bi-MHM, the
set metric of HyRSM, Wang et al., "Hybrid relation guided set matching", 2022. Tuples of frames,
Perrett et al., "Temporal-relational CrossTransformers" (TRX), 2021. The hybrid, Xing et al.,
"Boosting few-shot action recognition with graph-guided hybrid matching" (GgHM), 2023.
"""

from __future__ import annotations

import itertools

import numpy as np

from vlar.errors import UsageError
from vlar.fewshot.matchers import SequenceMatcher, frame_costs, unit_rows
from vlar.registry import register
from vlar.types import Float64


@register("fewshot", "mean")
class MeanMatcher(SequenceMatcher):
    """One minus the cosine of the mean frames; blind to order."""

    name = "mean"

    @staticmethod
    def distance(queries: Float64, supports: Float64, **options: float) -> Float64:
        """(m, n), see ``distances``; it has no options."""
        _no_options(options)
        return 1.0 - unit_rows(queries.mean(axis=1)) @ unit_rows(supports.mean(axis=1)).T


@register("fewshot", "diag")
class DiagonalMatcher(SequenceMatcher):
    """Mean cost of frames at the same place; sequences must be in step."""

    name = "diag"

    @staticmethod
    def distance(queries: Float64, supports: Float64, **options: float) -> Float64:
        """(m, n), see ``distances``; it has no options."""
        _no_options(options)
        if queries.shape[1] != supports.shape[1]:
            raise UsageError(
                f"matcher 'diag' compares sequences of one length and got {queries.shape[1]} and "
                f"{supports.shape[1]} frames; use 'otam'"
            )
        costs = frame_costs(queries, supports)
        return np.diagonal(costs, axis1=2, axis2=3).mean(axis=2)


@register("fewshot", "bi-mhm")
class SetMatcher(SequenceMatcher):
    """Bidirectional mean Hausdorff metric (HyRSM, eq. 6): every frame to its nearest; order-blind.

    The two directions are summed over frames.
    """

    name = "bi-mhm"
    slope = 2.0

    @staticmethod
    def distance(queries: Float64, supports: Float64, **options: float) -> Float64:
        """(m, n), see ``distances``; it has no options."""
        _no_options(options)
        return _hausdorff(frame_costs(queries, supports))


@register("fewshot", "tuple")
class TupleMatcher(SequenceMatcher):
    """The set metric on ordered pairs of frames: what comes before what, anywhere."""

    name = "tuple"
    slope = 0.5
    shortest = 2

    @staticmethod
    def distance(queries: Float64, supports: Float64, **options: float) -> Float64:
        """(m, n), see ``distances``; it has no options."""
        _no_options(options)
        return _hausdorff(_pair_costs(frame_costs(queries, supports)))


@register("fewshot", "hybrid")
class HybridMatcher(SequenceMatcher):
    """``alpha`` times the metric on pairs plus the rest on frames, each a mean over its tokens."""

    name = "hybrid"
    slope = 20.0
    shortest = 2

    @staticmethod
    def distance(
        queries: Float64, supports: Float64, *, alpha: float = 0.5, **options: float
    ) -> Float64:
        """(m, n), see ``distances``.

        Args:
            queries: (m, T, F) frames.
            supports: (n, T, F) frames.
            alpha: Share of the pairs, 0 to 1.
            **options: None are left.
        """
        _no_options(options)
        if not 0.0 <= alpha <= 1.0:
            raise UsageError(f"alpha of matcher 'hybrid' is {alpha}; give a share from 0 to 1")
        costs = frame_costs(queries, supports)
        pairs = _pair_costs(costs)
        frames = _hausdorff(costs) / sum(costs.shape[2:])
        return alpha * _hausdorff(pairs) / sum(pairs.shape[2:]) + (1.0 - alpha) * frames


@register("fewshot", "otam")
class AlignmentMatcher(SequenceMatcher):
    """Ordered temporal alignment (OTAM): soft alignment in time with free ends, both ways added.

    Its smoothed minimum counts paths, so that a distance may be negative.
    """

    name = "otam"
    slope = 2.0

    @staticmethod
    def distance(
        queries: Float64, supports: Float64, *, lam: float = 0.1, **options: float
    ) -> Float64:
        """(m, n), see ``distances``.

        Args:
            queries: (m, T, F) frames.
            supports: (n, T, F) frames.
            lam: Smoothness of the minimum, above 0.
            **options: None are left.
        """
        _no_options(options)
        if not lam > 0.0:
            raise UsageError(f"lam of matcher 'otam' is {lam}; give a number above 0")
        costs = frame_costs(queries, supports)
        return _aligned(costs, lam) + _aligned(costs.transpose(0, 1, 3, 2), lam)


def _no_options(options: dict[str, float]) -> None:
    if options:
        raise TypeError(f"no option {next(iter(options))!r}")


def _hausdorff(costs: Float64) -> Float64:
    """(m, n) from (m, n, T, T): the nearest of every frame, summed over both sides."""
    return costs.min(axis=3).sum(axis=2) + costs.min(axis=2).sum(axis=2)


def _pair_costs(costs: Float64) -> Float64:
    """(m, n, L, L) costs of ordered pairs of frames; unit frames, so a pair's cosine is a mean."""
    rows, columns = (
        np.array(list(itertools.combinations(range(length), 2))) for length in costs.shape[2:]
    )
    first = costs[:, :, rows[:, 0, None], columns[None, :, 0]]
    return (first + costs[:, :, rows[:, 1, None], columns[None, :, 1]]) / 2


def _aligned(costs: Float64, lam: float) -> Float64:
    """(m, n) cost of the best soft path through (m, n, T, T), from left to right.

    A column of zeros at either end of the second axis lets a path start and end anywhere in it.
    """
    padded = np.pad(costs, ((0, 0), (0, 0), (0, 0), (1, 1)))
    last = padded.shape[3] - 1
    above = np.cumsum(padded[:, :, 0], axis=2)
    for row in range(1, padded.shape[2]):
        here = np.zeros_like(above)
        for column in range(1, last + 1):
            steps = [above[:, :, column - 1], here[:, :, column - 1]]
            if column in (1, last):
                steps.append(above[:, :, column])
            here[:, :, column] = padded[:, :, row, column] + _soft_minimum(steps, lam)
        above = here
    return above[:, :, last]


def _soft_minimum(values: list[Float64], lam: float) -> Float64:
    lowest = np.minimum.reduce(values)
    return lowest - lam * np.log(sum(np.exp((lowest - value) / lam) for value in values))

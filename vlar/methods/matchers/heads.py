"""Matchers that are a distance between two sequences of frames, without trained parts."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlar import registry
from vlar.errors import UsageError
from vlar.heads.fewshot.matcher import BY_DISTANCE, BY_PROTOTYPE, Matcher
from vlar.registry import register
from vlar.types import Float32, Float64

_CHUNK_BYTES = 32 << 20  # of costs between frames that a chunk of clips holds at once


class SequenceMatcher(Matcher):
    """A matcher that is a distance between two sequences of frames, without trained parts.

    Attributes:
        shortest: Least number of frames of a clip.
        options: Names of what ``distance`` takes with the clips.
    """

    centred = True
    grid = (BY_DISTANCE, BY_PROTOTYPE)
    shortest: ClassVar[int] = 1
    options: ClassVar[tuple[str, ...]] = ()

    def similarity(self, a: Float32, b: Float32) -> Float64:
        """Minus ``distance``."""
        return -distances(self.name, a, b)

    @staticmethod
    def distance(queries: Float64, supports: Float64) -> Float64:
        """(m, n) float64 distances of sequences (m, T, F) and (n, T, F); see ``distances``."""
        raise NotImplementedError


def distances(
    name: str, queries: npt.ArrayLike, supports: npt.ArrayLike, **options: float
) -> Float64:
    """Distances between clips as sequences of frames, for every pair.

    The cost of a pair of frames is one minus their cosine. Nothing is centred here.

    Args:
        name: ``mean``, ``diag``, ``bi-mhm``, ``otam``, ``tuple``, ``hybrid`` or another registered
            head of this kind.
        queries: (m, T, F) frames.
        supports: (n, T, F) frames. The lengths may differ, but for ``diag``.
        **options: Options of the matcher: ``lam`` of ``otam``, ``alpha`` of ``hybrid``.

    Returns:
        (m, n) float64; smaller is more alike. The memory of a call is bounded.

    Raises:
        UnknownNameError: no such head.
        UsageError: a head that does not compare sequences, shapes that do not fit, values that are
            not finite, sequences that are too short, or an unknown option.
    """
    part: Any = registry.get("fewshot", name)
    if not issubclass(part, SequenceMatcher):
        raise UsageError(f"few-shot head {name!r} does not compare sequences; use otam or bi-mhm")
    for option in options:
        if option not in part.options:
            raise UsageError(f"matcher {name!r} has no option {option!r}; leave it out")
    a, b = np.asarray(queries, np.float64), np.asarray(supports, np.float64)
    _check(name, part.shortest, a, b)
    pairs = max(a.shape[1], part.shortest) ** 2 * max(b.shape[1], part.shortest) ** 2
    rows = max(1, int(_CHUNK_BYTES // (8 * max(len(b), 1) * pairs)))
    try:
        distances = [part.distance(a[i : i + rows], b, **options) for i in range(0, len(a), rows)]
    except TypeError as error:
        raise UsageError(f"options {options} of matcher {name!r}: {error}") from error
    return np.concatenate(distances) if distances else np.zeros((0, len(b)))


def frame_costs(queries: Float64, supports: Float64) -> Float64:
    """(m, n, T, T) one minus the cosine of every frame of one clip and of another."""
    a, b = unit_rows(queries), unit_rows(supports)
    cosine = np.tensordot(a, b, axes=(2, 2)).transpose(0, 2, 1, 3)
    return 1.0 - np.clip(cosine, -1.0, 1.0)


def _check(name: str, shortest: int, queries: Float64, supports: Float64) -> None:
    if queries.ndim != 3 or supports.ndim != 3 or queries.shape[2] != supports.shape[2]:
        raise UsageError(
            f"matcher {name!r} compares (m, T, F) with (n, T, F) of one width F; it got "
            f"{queries.shape} and {supports.shape}"
        )
    length = min(queries.shape[1], supports.shape[1])
    if length < shortest:
        raise UsageError(
            f"matcher {name!r} needs at least {shortest} frames a clip and got {length}; use more "
            "frames or 'bi-mhm'"
        )
    if not (np.isfinite(queries).all() and np.isfinite(supports).all()):
        raise UsageError(f"matcher {name!r} got frames that are not finite; drop these clips")


def unit_rows(frames: Float64) -> Float64:
    """The last axis scaled to length 1 in float64; zeros stay zero."""
    length = np.linalg.norm(frames, axis=-1, keepdims=True)
    return (frames / np.where(length > 0, length, 1)).astype(np.float64)


@register("fewshot", "mean", status="null here")
class MeanMatcher(SequenceMatcher):
    """One minus the cosine of the mean frames; blind to order.

    Example: ``vlar adapt support/ --out mine --method mean``.
    """

    name = "mean"

    @staticmethod
    def distance(queries: Float64, supports: Float64) -> Float64:
        """(m, n), see ``distances``; it has no options."""
        return 1.0 - unit_rows(queries.mean(axis=1)) @ unit_rows(supports.mean(axis=1)).T


@register("fewshot", "diag", status="null here")
class DiagonalMatcher(SequenceMatcher):
    """Mean cost of frames at the same place; sequences must be in step.

    Example: ``vlar adapt support/ --out mine --method diag``.
    """

    name = "diag"

    @staticmethod
    def distance(queries: Float64, supports: Float64) -> Float64:
        """(m, n), see ``distances``; it has no options."""
        if queries.shape[1] != supports.shape[1]:
            raise UsageError(
                f"matcher 'diag' compares sequences of one length and got {queries.shape[1]} and "
                f"{supports.shape[1]} frames; use 'otam'"
            )
        costs = frame_costs(queries, supports)
        return np.diagonal(costs, axis1=2, axis2=3).mean(axis=2)


@register("fewshot", "bi-mhm", status="null here")
class SetMatcher(SequenceMatcher):
    """Bidirectional mean Hausdorff metric (HyRSM, eq. 6): every frame to its nearest; order-blind.

    The two directions are summed over frames.

    Reference: Wang et al., "Hybrid relation guided set matching for few-shot action recognition",
    CVPR 2022, equation 6.
    Example: ``vlar adapt support/ --out mine --method bi-mhm``.
    """

    name = "bi-mhm"
    slope = 2.0

    @staticmethod
    def distance(queries: Float64, supports: Float64) -> Float64:
        """(m, n), see ``distances``; it has no options."""
        return _hausdorff(frame_costs(queries, supports))


@register("fewshot", "tuple", status="null here")
class TupleMatcher(SequenceMatcher):
    """The set metric on ordered pairs of frames: what comes before what, anywhere.

    Reference: TRX (Perrett et al., CVPR 2021), without weights.
    Example: ``vlar adapt support/ --out mine --method tuple``.
    """

    name = "tuple"
    slope = 0.5
    shortest = 2

    @staticmethod
    def distance(queries: Float64, supports: Float64) -> Float64:
        """(m, n), see ``distances``; it has no options."""
        return _hausdorff(_pair_costs(frame_costs(queries, supports)))


@register("fewshot", "hybrid", status="null here")
class HybridMatcher(SequenceMatcher):
    """``alpha`` times the metric on pairs plus the rest on frames, each a mean over its tokens.

    Reference: GgHM (Xing et al., ICCV 2023), without weights.
    Example: ``vlar adapt support/ --out mine --method hybrid``.
    """

    name = "hybrid"
    options = ("alpha",)
    slope = 20.0
    shortest = 2

    @staticmethod
    def distance(queries: Float64, supports: Float64, *, alpha: float = 0.5) -> Float64:
        """(m, n), see ``distances``.

        Args:
            queries: (m, T, F) frames.
            supports: (n, T, F) frames.
            alpha: Share of the pairs, 0 to 1.
        """
        if not 0.0 <= alpha <= 1.0:
            raise UsageError(f"alpha of matcher 'hybrid' is {alpha}; give a share from 0 to 1")
        costs = frame_costs(queries, supports)
        pairs = _pair_costs(costs)
        frames = _hausdorff(costs) / sum(costs.shape[2:])
        return alpha * _hausdorff(pairs) / sum(pairs.shape[2:]) + (1.0 - alpha) * frames


@register("fewshot", "otam", status="null here")
class AlignmentMatcher(SequenceMatcher):
    """Ordered temporal alignment (OTAM): soft alignment in time with free ends, both ways added.

    Its smoothed minimum counts paths, so that a distance may be negative.

    Reference: Cao et al., "Few-shot video classification via temporal alignment", CVPR 2020.
    Example: ``vlar adapt support/ --out mine --method otam``.
    """

    name = "otam"
    options = ("lam",)
    slope = 2.0

    @staticmethod
    def distance(queries: Float64, supports: Float64, *, lam: float = 0.1) -> Float64:
        """(m, n), see ``distances``.

        Args:
            queries: (m, T, F) frames.
            supports: (n, T, F) frames.
            lam: Smoothness of the minimum, above 0.
        """
        if not lam > 0.0:
            raise UsageError(f"lam of matcher 'otam' is {lam}; give a number above 0")
        costs = frame_costs(queries, supports)
        return _aligned(costs, lam) + _aligned(costs.transpose(0, 1, 3, 2), lam)


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
        row_now = np.zeros_like(above)
        for column in range(1, last + 1):
            steps = [above[:, :, column - 1], row_now[:, :, column - 1]]
            if column in (1, last):
                steps.append(above[:, :, column])
            row_now[:, :, column] = padded[:, :, row, column] + _soft_minimum(steps, lam)
        above = row_now
    return above[:, :, last]


def _soft_minimum(values: list[Float64], lam: float) -> Float64:
    lowest = np.minimum.reduce(values)
    return lowest - lam * np.log(sum(np.exp((lowest - value) / lam) for value in values))

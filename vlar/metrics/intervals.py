"""Uncertainty of a figure: exact intervals of shares, bootstrap over groups, differences.

Clips of one group (a person, a source video) resemble each other, so groups are drawn, not clips.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlar.errors import MetricError
from vlar.metrics.checks import Record, finite
from vlar.types import Float64

Ints = npt.NDArray[np.int64]
DRAWS = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval(Record):
    """A figure with its interval.

    Attributes:
        value: The figure of all clips.
        low: Lower end.
        high: Upper end.
        groups: Groups that were drawn from, or that count as trials.
        level: Coverage, 0..1.
    """

    value: float
    low: float
    high: float
    groups: int
    level: float = LEVEL


@dataclass(frozen=True)
class PairedDifference(Record):
    """A difference of two models on the same clips.

    Attributes:
        difference: First minus second, with its interval.
        p: Two-sided share of draws on the other side of 0 (at least 1 / draws).
    """

    difference: Interval
    p: float


def bootstrap(
    figure: Callable[[Ints], float],
    groups: Sequence[Hashable],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval | None:
    """The percentile interval of any figure over groups drawn with replacement (Efron, 1979).

    Args:
        figure: The figure of some rows (indices, (m,) int64, with repeats).
        groups: N groups, one a row.
        draws: Resamples.
        seed: Seed of the draws.

    Returns:
        The interval; None where all rows are of one group, which does not represent others.

    Raises:
        MetricError: no row.
    """
    if not len(groups):
        raise MetricError("no clip to draw from; give at least one")
    which, sizes = _numbered(groups)
    if len(sizes) == 1:
        return None
    order, ends = np.argsort(which, kind="stable"), np.cumsum(sizes)
    random = np.random.default_rng(seed)
    values = np.empty(draws)
    for draw in range(draws):
        drawn = random.integers(len(sizes), size=len(sizes))
        length = sizes[drawn]
        # Place of each drawn row: the first of its group, and on from there.
        shift = (ends - sizes)[drawn] - (np.cumsum(length) - length)
        values[draw] = figure(order[np.repeat(shift, length) + np.arange(length.sum())])
    whole = float(figure(np.arange(len(which))))
    return _interval(whole, values, len(sizes))


def mean_interval(
    values: npt.ArrayLike,
    groups: Sequence[Hashable],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval | None:
    """Interval of a mean: exact for a share of independent clips, else ``bootstrap`` over groups.

    A share of right answers (values of 0 and 1) is binomial where every clip is a group of its own.
    It is also taken as binomial, with groups as trials, where all values agree: resampling equal
    values gives an interval without width, which four clips do not justify.

    Args:
        values: (N,) float or bool.
        groups: N groups.
        draws: Resamples.
        seed: Seed of the draws.

    Raises:
        MetricError: no row, NaN, or lengths that differ.
    """
    rows = finite(values, "the values", 1)
    means, n_groups = _drawn_means(rows, groups, draws, seed)
    if n_groups == 1:
        return None
    share = bool(np.isin(rows, (0.0, 1.0)).all())
    if share and (n_groups == len(rows) or rows.min() == rows.max()):
        return exact_interval(round(float(rows.mean()) * n_groups), n_groups)
    return _interval(float(rows.mean()), means, n_groups)


def exact_interval(successes: int, trials: int, *, level: float = LEVEL) -> Interval:
    """The exact interval of a binomial share (Clopper and Pearson, 1934).

    >>> found = exact_interval(4, 4)
    >>> round(found.low, 2), found.high
    (0.4, 1.0)

    Args:
        successes: Trials that succeeded.
        trials: Independent trials, at least 1.
        level: Least coverage, 0..1.

    Raises:
        MetricError: no trial, or more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise MetricError(f"{successes} of {trials} is not a share; give at least one trial")
    tail, failures = (1.0 - level) / 2.0, trials - successes
    low = _share_of_tail(successes, trials, tail) if successes else 0.0
    high = 1.0 - _share_of_tail(failures, trials, tail) if failures else 1.0
    return Interval(successes / trials, low, high, trials, level)


def _share_of_tail(successes: int, trials: int, tail: float) -> float:
    """Share under which ``successes`` or more have the probability ``tail``, by bisection."""
    counts = np.arange(1, trials + 1)
    ways = np.cumsum(np.log((trials + 1 - counts) / counts))[successes - 1 :]  # logarithms
    counts = counts[successes - 1 :]
    low, high = 0.0, 1.0
    while low < (share := (low + high) / 2) < high:
        logs = ways + counts * np.log(share) + (trials - counts) * np.log1p(-share)
        low, high = (share, high) if np.exp(logs).sum() < tail else (low, share)
    return share


def paired(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    groups: Sequence[Hashable],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> PairedDifference | None:
    """The mean difference of two models on the same clips, over groups drawn with replacement.

    Args:
        first: (N,) float or bool of the first model.
        second: (N,) of the second, in the same order.
        groups: N groups.
        draws: Resamples.
        seed: Seed of the draws.

    Returns:
        The difference; None where all rows are of one group.

    Raises:
        MetricError: no row, NaN, or lengths that differ.
    """
    a, b = finite(first, "the values", 1), finite(second, "the values", 1)
    if len(a) != len(b):
        raise MetricError(f"{len(a)} and {len(b)} values; paired figures need the same clips")
    means, n_groups = _drawn_means(a - b, groups, draws, seed)
    if n_groups == 1:
        return None
    other = min((means <= 0).mean(), (means >= 0).mean())
    p = float(min(max(2 * other, 1 / draws), 1.0))
    return PairedDifference(_interval(float((a - b).mean()), means, n_groups), p)


def _drawn_means(
    values: Float64, groups: Sequence[Hashable], draws: int, seed: int
) -> tuple[Float64, int]:
    """Means of the rows of drawn groups (draws,), and the number of groups."""
    if len(values) != len(groups):
        raise MetricError(f"{len(values)} values for {len(groups)} groups; give one group a value")
    which, sizes = _numbered(groups)
    sums = np.bincount(which, weights=values)
    random = np.random.default_rng(seed)
    means = np.empty(draws)
    for draw in range(draws):
        drawn = random.integers(len(sums), size=len(sums))
        means[draw] = sums[drawn].sum() / sizes[drawn].sum()
    return means, len(sums)


def _numbered(groups: Sequence[Hashable]) -> tuple[Ints, Ints]:
    """The number of each row's group (N,), and the size of each group."""
    number = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    which = np.array([number[group] for group in groups], np.int64)
    return which, np.bincount(which)


def _interval(value: float, drawn: Float64, n_groups: int) -> Interval:
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Interval(value, float(low), float(high), n_groups)

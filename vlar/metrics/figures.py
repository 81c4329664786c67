"""Figures of a run: one row each, with what it is of and how sure it is; accuracy of slices."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.metrics.classification import macro_accuracy, ranks
from vlar.metrics.intervals import Interval, bootstrap, mean_interval
from vlar.types import JsonDict

FEWEST = 20
"""Clips below which the accuracy of a slice tells little."""
CLEAN = "clean"
_DRAWS = 500  # of figures that are not a mean over clips
_TOP = 5


@dataclass(frozen=True)
class Figure:
    """One number of a run.

    Attributes:
        name: What it is: ``top1``, ``hm``, ``auroc``.
        value: A share of 1 except for ranks; NaN where it is not defined.
        low: Lower end of the 95 % interval over groups of clips; None where there is none.
        high: Upper end.
        n: Clips (or queries, or episodes) it is taken over.
        where: What it is of: ``{"split": "1", "shots": "4", "under": "shuffle/5"}``.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    where: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def under(self) -> str:
        """The change of the clips that it was taken under; ``clean`` for none."""
        return self.where.get("under", CLEAN)

    @property
    def is_share(self) -> bool:
        """Whether the value is a share of 1, which is printed in percent; a rank is not."""
        return not self.name.endswith("rank")

    def text(self, unit: str = "") -> str:
        """The value in percent; a rank as it is, a dash where it is not defined.

        >>> Figure("top1", 0.346).text(" %"), Figure("median_rank", 7.0).text()
        ('34.6 %', '7.0')
        """
        if np.isnan(self.value):
            return "-"
        return percent(self.value, unit) if self.is_share else f"{self.value:.1f}"

    @property
    def ends(self) -> str:
        """Both ends of the interval in percent, such as ``40 to 61``; empty without one."""
        ends = (self.low, self.high) if self.is_share else ()
        return " to ".join(f"{100 * end:.0f}" for end in ends if end is not None)

    def of(self, **where: Any) -> Figure:
        """The same figure of a part of the run."""
        more = {name: str(value) for name, value in where.items() if value is not None}
        return replace(self, where={**self.where, **more})

    def to_dict(self) -> JsonDict:
        """The JSON object of a run's file."""
        return {
            "name": self.name,
            "value": None if np.isnan(self.value) else self.value,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "where": dict(self.where),
        }

    @staticmethod
    def restore(row: JsonDict) -> Figure:
        """The figure of a JSON object."""
        value = float("nan") if row["value"] is None else float(row["value"])
        return Figure(row["name"], value, row["low"], row["high"], int(row["n"]), row["where"])


def percent(share: float, unit: str = " %") -> str:
    """A share in percent, with one digit after the point.

    >>> percent(0.346)
    '34.6 %'
    """
    return f"{100 * share:.1f}{unit}"


def with_interval(name: str, found: Interval | None, value: float, n: int) -> Figure:
    """A figure with the interval that the bootstrap gave, if it gave one."""
    if found is None:
        return Figure(name, value, None, None, n)
    return Figure(name, found.value, found.low, found.high, n)


def mean_figure(name: str, values: npt.ArrayLike, groups: Sequence[Hashable]) -> Figure:
    """The mean of one value a clip, with its interval over groups."""
    rows = np.asarray(values, np.float64)
    return with_interval(name, mean_interval(rows, groups), float(rows.mean()), len(rows))


def any_figure(
    name: str,
    figure: Callable[[npt.NDArray[np.int64]], float],
    groups: Sequence[Hashable],
    *,
    draws: int = _DRAWS,
) -> Figure:
    """Any figure of some rows, with its interval over groups; no draws give no interval."""
    value = float(figure(np.arange(len(groups))))
    interval = bootstrap(figure, groups, draws=draws) if draws else None
    return with_interval(name, interval, value, len(groups))


def class_figures(
    scores: npt.NDArray[Any], truth: npt.NDArray[np.int64], groups: Sequence[Hashable]
) -> list[Figure]:
    """``top1``, ``top5`` and ``macro`` of (N, C) scores.

    Args:
        scores: (N, C) float, higher is better.
        truth: (N,) int64, column of the right label.
        groups: N groups; clips of one group stand and fall together.
    """
    rank = ranks(scores, truth)
    figures = [mean_figure("top1", rank < 1, groups)]
    if scores.shape[1] > _TOP:
        figures.append(mean_figure("top5", rank < _TOP, groups))

    def macro(rows: npt.NDArray[np.int64]) -> float:
        return macro_accuracy(rank[rows] < 1, truth[rows])

    return [*figures, any_figure("macro", macro, groups)]


def slices(
    right: npt.ArrayLike, cells: Sequence[Mapping[str, str]], groups: Sequence[str]
) -> list[Figure]:
    """``top1`` of each value of each column, in the order of columns and values.

    Args:
        right: (N,) whether each clip's answer is right.
        cells: N cells by column; all have the same columns.
        groups: N groups, which stand and fall together.

    Returns:
        Figures of ``{"by": COLUMN, "value": CELL}``; ``-`` stands for an empty cell.
    """
    hits, figures = np.asarray(right, np.bool_), list[Figure]()
    for column in dict.fromkeys(name for row in cells for name in row):
        values = np.array([row[column] for row in cells], object)
        for value in sorted(set(values)):
            rows = np.flatnonzero(values == value)
            figure = mean_figure("top1", hits[rows], [groups[row] for row in rows.tolist()])
            figures.append(figure.of(by=column, value=value or "-"))
    return figures


def with_means(figures: list[Figure]) -> list[Figure]:
    """Figures with their means and deviations over seeds, and of these over splits."""
    by_seed = spread(figures, "seed")
    return figures + by_seed + spread(by_seed or figures, "split")


def spread(figures: Sequence[Figure], over: str) -> list[Figure]:
    """Mean and population standard deviation of figures over splits or seeds.

    Args:
        figures: Those of a run.
        over: The key of ``where`` that differs.

    Returns:
        For every name that has several values: the mean with ``where`` less ``over``, and
        ``NAME std``.
    """
    together: dict[tuple[str, frozenset[tuple[str, str]]], list[Figure]] = {}
    for figure in figures:
        if over in figure.where:
            other_keys = {k: v for k, v in figure.where.items() if k != over}
            reduced = replace(figure, where=other_keys)
            together.setdefault((figure.name, frozenset(other_keys.items())), []).append(reduced)
    spreads: list[Figure] = []
    for (name, _), rows in together.items():
        if len(rows) < 2:
            continue
        values, where = [row.value for row in rows], rows[0].where
        n = sum(row.n for row in rows)
        spreads.append(Figure(name, float(np.mean(values)), None, None, n, where))
        spreads.append(Figure(f"{name} std", float(np.std(values)), None, None, n, where))
    return spreads

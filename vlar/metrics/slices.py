"""Accuracy of parts of the clips: of those that agree in one column of their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlar.metrics.checks import Record
from vlar.metrics.intervals import Interval, mean_interval

FEWEST = 20
"""Clips below which the accuracy of a slice tells little."""


@dataclass(frozen=True)
class Slice(Record):
    """The clips with one value of a column.

    Attributes:
        column: Name of the column.
        value: Their cell; may be empty.
        n: Clips.
        accuracy: Share of them whose answer is right.
        interval: 95 % interval over groups; None where all are of one group.
    """

    column: str
    value: str
    n: int
    accuracy: float
    interval: Interval | None

    def sentence(self) -> str:
        """A line for a person; a slice of few clips is marked."""
        ends = (
            self.interval and f" ({100 * self.interval.low:.0f} to {100 * self.interval.high:.0f})"
        )
        few = f"; fewer than {FEWEST} clips tell little" if self.n < FEWEST else ""
        name = f"{self.column} = {self.value or '(empty)'}"
        return f"{name}: {100 * self.accuracy:.1f} %{ends or ''} of {self.n}{few}"


def slices(
    right: npt.ArrayLike, cells: Sequence[Mapping[str, str]], groups: Sequence[str]
) -> tuple[Slice, ...]:
    """The accuracy of each value of each column, in the order of columns and values.

    Args:
        right: (N,) whether each clip's answer is right.
        cells: N cells by column; all have the same columns.
        groups: N groups, which stand and fall together.
    """
    hits = np.asarray(right, np.bool_)
    found: list[Slice] = []
    for column in dict.fromkeys(name for row in cells for name in row):
        values = np.array([row[column] for row in cells], object)
        for value in sorted(set(values)):
            rows = np.flatnonzero(values == value)
            interval = mean_interval(hits[rows], [groups[int(row)] for row in rows])
            found.append(Slice(column, value, len(rows), float(hits[rows].mean()), interval))
    return tuple(found)

"""Rows as columns: which rows there are, and which of them a search may answer with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vlar.types import Float32, Float64

Int64 = npt.NDArray[np.int64]
Float16 = npt.NDArray[np.float16]
Bool = npt.NDArray[np.bool_]
ANY_TIME = (-np.inf, np.inf)
_LARGEST_LISTED = 1 << 27
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class RowPerson:
    """The person that a row shows, one of its window. Rows of whole frames have none.

    Attributes:
        track: Number of the person in the recording, from 1; the same person in overlapping
            windows has the same number.
        box: x1, y1, x2, y2 in the middle of the window, in shares (0 to 1) of the frame's width
            and height.
    """

    track: int
    box: Box


@dataclass(frozen=True)
class RowBatch:
    """Rows with their vectors; all arrays have N entries, ``vectors`` is (N, D) float32.

    ``people`` has whom the rows of people show, by row id; whole frames are not among them.
    """

    ids: Int64
    video_ids: Int64
    spans: tuple[tuple[float, float], ...]
    vectors: Float32
    people: Mapping[int, RowPerson] = field(default_factory=dict[int, RowPerson])


@dataclass(frozen=True)
class RowTable:
    """Constant facts of N rows, in rising order of their ids. All arrays are (N,)."""

    ids: Int64
    video_ids: Int64
    starts_s: Float64
    ends_s: Float64

    @classmethod
    def empty(cls) -> RowTable:
        """A table without rows."""
        none, never = np.empty(0, np.int64), np.empty(0, np.float64)
        return cls(none, none, never, never)

    @classmethod
    def joined(cls, tables: list[RowTable]) -> RowTable:
        """Several tables in a row."""
        if not tables:
            return cls.empty()
        return cls(
            np.concatenate([table.ids for table in tables]),
            np.concatenate([table.video_ids for table in tables]),
            np.concatenate([table.starts_s for table in tables]),
            np.concatenate([table.ends_s for table in tables]),
        )

    @property
    def columns(self) -> tuple[Int64, Int64, Float64, Float64]:
        """The four arrays."""
        return self.ids, self.video_ids, self.starts_s, self.ends_s

    def __len__(self) -> int:
        """N."""
        return len(self.ids)

    def where(self, mask: Bool | Int64) -> RowTable:
        """The rows of a mask (N,), or at places (M,)."""
        return RowTable(
            self.ids[mask], self.video_ids[mask], self.starts_s[mask], self.ends_s[mask]
        )


@dataclass(frozen=True)
class RowFilter:
    """Rows of some videos, or some rows, whose start and end lie in ranges.

    Attributes:
        videos: Ids of the videos; None allows any video.
        start_s: Least and greatest start in seconds, both included.
        end_s: Least and greatest end in seconds, both included.
        rows: Ids of the rows; None allows any row.
    """

    videos: frozenset[int] | None = None
    start_s: tuple[float, float] = ANY_TIME
    end_s: tuple[float, float] = ANY_TIME
    rows: frozenset[int] | None = None

    def mask(self, table: RowTable) -> Bool:
        """(N,) True for the rows of a table that pass."""
        mask = np.ones(len(table), np.bool_)
        if self.videos is not None:
            mask &= _listed(table.video_ids, np.fromiter(self.videos, np.int64, len(self.videos)))
        if self.rows is not None:
            mask &= _listed(table.ids, np.fromiter(self.rows, np.int64, len(self.rows)))
        for (low, high), column in ((self.start_s, table.starts_s), (self.end_s, table.ends_s)):
            if (low, high) != ANY_TIME:
                mask &= (column >= low) & (column <= high)
        return mask

    def allows(self, row_id: int, start_s: float, end_s: float) -> bool:
        """Return whether a row with these times passes, if its video does."""
        return (
            (self.rows is None or row_id in self.rows)
            and self.start_s[0] <= start_s <= self.start_s[1]
            and self.end_s[0] <= end_s <= self.end_s[1]
        )


def _listed(values: Int64, chosen: Int64) -> Bool:
    """(N,) whether each value is among those chosen; by a table where the values are small."""
    least, last = int(values.min(initial=0)), int(values.max(initial=0))
    if least < 0 or last > _LARGEST_LISTED:
        return np.isin(values, chosen)
    listed = np.zeros(last + 1, np.bool_)
    listed[chosen[(chosen >= 0) & (chosen <= last)]] = True
    return listed[values]


class Selection:
    """Some places of an array of rows, in the forms that searches need, each computed once."""

    def __init__(self, mask: Bool) -> None:
        self.mask = mask

    @cached_property
    def count(self) -> int:
        """Number of places."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def places(self) -> Int64:
        """The places in rising order."""
        return np.flatnonzero(self.mask)

    @cached_property
    def bits(self) -> npt.NDArray[np.uint8]:
        """The mask with eight places a byte, the lowest bit first."""
        return np.packbits(self.mask.view(np.uint8), bitorder="little")


class RowSource(Protocol):
    """N rows with their vectors, read chunk by chunk in rising order of their ids."""

    @property
    def dim(self) -> int:
        """D."""
        ...

    @property
    def count(self) -> int:
        """N."""
        ...

    def chunks(self) -> Iterator[tuple[RowTable, Float16]]:
        """Tables of n rows with their vectors (n, D) float16."""
        ...


def read_all(source: RowSource) -> tuple[RowTable, Float16]:
    """All rows of a source at once, and their vectors (N, D)."""
    chunks = list(source.chunks())
    vectors = [np.empty((0, source.dim), np.float16), *(chunk[1] for chunk in chunks)]
    return RowTable.joined([chunk[0] for chunk in chunks]), np.concatenate(vectors)

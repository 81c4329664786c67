"""Rows as columns: which rows there are, which of them a search may answer with."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.index.store.database import STORED, Float16, Int64, Store
from vlar.types import Float64

Bool = npt.NDArray[np.bool_]
CHUNK_ROWS = 8192
ANY_TIME = (-np.inf, np.inf)


@dataclass(frozen=True)
class RowTable:
    """What never changes of N rows; ids rise. All arrays have N entries."""

    ids: Int64
    video_ids: Int64
    starts_s: Float64
    ends_s: Float64

    @classmethod
    def empty(cls) -> RowTable:
        """Without rows."""
        none, never = np.empty(0, np.int64), np.empty(0, np.float64)
        return cls(none, none, never, never)

    @classmethod
    def joined(cls, tables: list[RowTable]) -> RowTable:
        """Tables one behind the other."""
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

    def where(self, mask: Bool) -> RowTable:
        """The rows of a mask (N,)."""
        return RowTable(
            self.ids[mask], self.video_ids[mask], self.starts_s[mask], self.ends_s[mask]
        )


@dataclass(frozen=True)
class RowFilter:
    """Rows of some videos (None: of any) whose start and end lie in ranges, ends included."""

    videos: frozenset[int] | None = None
    start_s: tuple[float, float] = ANY_TIME
    end_s: tuple[float, float] = ANY_TIME

    def mask(self, table: RowTable) -> Bool:
        """(N,) which rows of a table are meant."""
        mask = np.ones(len(table), np.bool_)
        if self.videos is not None:
            chosen = np.fromiter(self.videos, np.int64, len(self.videos))
            last = int(table.video_ids.max(initial=0))
            listed = np.zeros(last + 1, np.bool_)
            listed[chosen[(chosen >= 0) & (chosen <= last)]] = True
            mask &= listed[table.video_ids]
        for (low, high), column in ((self.start_s, table.starts_s), (self.end_s, table.ends_s)):
            if (low, high) != ANY_TIME:
                mask &= (column >= low) & (column <= high)
        return mask


class Selection:
    """Some places of an index, in the forms that searches need, each made once."""

    def __init__(self, mask: Bool) -> None:
        self.mask = mask

    @cached_property
    def count(self) -> int:
        """How many."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def places(self) -> Int64:
        """Which, rising."""
        return np.flatnonzero(self.mask)

    @cached_property
    def selector(self) -> Any:
        """For FAISS."""
        faiss: Any = importlib.import_module("faiss")
        self._bits = np.packbits(
            self.mask.view(np.uint8), bitorder="little"
        )  # FAISS keeps a pointer
        return faiss.IDSelectorBitmap(self._bits)


class RowSource:
    """The rows of a store behind an id, in rising order, chunk by chunk. Use inside a snapshot."""

    def __init__(self, store: Store, dim: int, after_id: int = 0) -> None:
        self.dim = dim
        self._store = store
        self._after_id = after_id

    @cached_property
    def count(self) -> int:
        """N."""
        if self._after_id == 0:
            return self._store.row_count()
        query = "SELECT count(*) FROM rows WHERE id > ?"
        return int(self._store.fetch(query, (self._after_id,))[0][0])

    def chunks(self) -> Iterator[tuple[RowTable, Float16]]:
        """Tables with vectors (n, D) float16.

        Raises:
            LibraryError: a vector has not D numbers; its row is named.
        """
        query = (
            "SELECT id, video_id, start_s, end_s, vector FROM rows WHERE id > ? ORDER BY id LIMIT ?"
        )
        last = self._after_id
        while found := self._store.fetch(query, (last, CHUNK_ROWS)):
            ids, video_ids, starts, ends, blobs = zip(*found, strict=True)
            if any(len(blob) != self.dim * STORED.itemsize for blob in blobs):
                self._store.rows(ids, self.dim)  # raises, with the name of the row
            vectors = np.frombuffer(b"".join(blobs), STORED).reshape(len(ids), self.dim)
            yield (
                RowTable(
                    np.array(ids, np.int64),
                    np.array(video_ids, np.int64),
                    np.array(starts, np.float64),
                    np.array(ends, np.float64),
                ),
                vectors,
            )
            last = ids[-1]

    def all(self) -> tuple[RowTable, Float16]:
        """Everything at once."""
        chunks = list(self.chunks())
        vectors = [np.empty((0, self.dim), np.float16), *(chunk[1] for chunk in chunks)]
        return RowTable.joined([chunk[0] for chunk in chunks]), np.concatenate(vectors)

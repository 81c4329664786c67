"""The rows of a store as a source for search engines."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vlar.index.rows import Bool, Float16, Int64, RowTable
from vlar.index.store.database import ROW, Store
from vlar.index.store.row_check import NO_RECORDING, CheckedRows

_CHUNK_ROWS = 8192
_BEFORE_ALL = -(1 << 63)


class StoreRows:
    """The rows of a store in rising order of their ids (a ``RowSource``). Use inside a snapshot.

    Damaged rows and rows of no recording are left out.

    Args:
        store: The library.
        dim: D.
        after_id: Only rows with a greater id.
    """

    def __init__(self, store: Store, dim: int, after_id: int = _BEFORE_ALL) -> None:
        self._dim = dim
        self._store = store
        self._after_id = after_id
        self._count: int | None = None
        self._owners: Int64 | None = None
        self.damaged: set[int] = set()  # ids of the rows left out of what was read so far

    @property
    def dim(self) -> int:
        """D."""
        return self._dim

    @property
    def count(self) -> int:
        """Number of rows, damaged ones included."""
        if self._count is None:
            query = "SELECT count(*) FROM rows WHERE id > ?"
            self._count = int(self._store.fetch(query, (self._after_id,))[0][0])
        return self._count

    def chunks(self) -> Iterator[tuple[RowTable, Float16]]:
        """Tables of n rows, at least one, with their vectors (n, D) float16."""
        query = f"SELECT {ROW} FROM rows WHERE id > ? ORDER BY id LIMIT ?"
        last = self._after_id
        while found := self._store.fetch(query, (last, _CHUNK_ROWS)):
            if found[-1][0] <= last:  # the pages of a damaged file may form a circle
                raise self._store.damage("its rows are not in order")
            last = found[-1][0]
            rows = self._store.checked(found, self.dim)
            owned = self._owned(rows)
            self.damaged.update(rows.damaged)
            if not owned.any():
                continue
            table = RowTable(rows.ids, rows.video_ids, *rows.times_s.T.copy())
            if owned.all():
                yield table, rows.vectors
            else:
                yield table.where(owned), rows.vectors[owned]

    def _owned(self, rows: CheckedRows) -> Bool:
        """(n,) whether the recording of each row is there."""
        if self._owners is None:
            self._owners = np.sort(np.fromiter(self._store.paths(), np.int64))
        owned = np.isin(rows.video_ids, self._owners)
        orphans = rows.ids[~owned].tolist()
        self.damaged.update(orphans)
        self._store.damaged.update(dict.fromkeys(orphans, NO_RECORDING))
        return owned

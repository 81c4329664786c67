"""The rows of a store as a source for search engines."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vlar.index.rows import Float16, RowTable
from vlar.index.store.database import STORED, Store

_CHUNK_ROWS = 8192


class StoreRows:
    """The rows of a store in rising order of their ids (a ``RowSource``). Use inside a snapshot.

    Args:
        store: The library.
        dim: D.
        after_id: Only rows with a greater id.
    """

    def __init__(self, store: Store, dim: int, after_id: int = 0) -> None:
        self._dim = dim
        self._store = store
        self._after_id = after_id
        self._count: int | None = None

    @property
    def dim(self) -> int:
        """D."""
        return self._dim

    @property
    def count(self) -> int:
        """N."""
        if self._count is None:
            query = "SELECT count(*) FROM rows WHERE id > ?"
            self._count = int(self._store.fetch(query, (self._after_id,))[0][0])
        return self._count

    def chunks(self) -> Iterator[tuple[RowTable, Float16]]:
        """Tables of n rows with their vectors (n, D) float16.

        Raises:
            LibraryError: a vector does not have D numbers; the message names its row.
        """
        query = (
            "SELECT id, video_id, start_s, end_s, vector FROM rows WHERE id > ? ORDER BY id LIMIT ?"
        )
        last = self._after_id
        while found := self._store.fetch(query, (last, _CHUNK_ROWS)):
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

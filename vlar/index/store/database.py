"""The store of a library, its source of truth: videos, rows, tags and the manifest.

A row is a window with its vector. Vectors are stored as little-endian float16, which halves the
file. Rounding moves an inner product of unit vectors by about 1e-4 at most; the best ten rows of a
query stay the same except for near ties (``benchmarks/index_memory.py --precision`` measures it).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import LibraryError
from vlar.index.report import VideoRow
from vlar.index.rows import Float16, Int64
from vlar.index.store import schema
from vlar.types import Float32

VECTOR_TYPE = "float16"
STORED = np.dtype("<f2")
_KNOWN = "SELECT id, path, content_hash, size, mtime_ns FROM videos"
_CHUNK = 500  # below the number of parameters any SQLite allows


@dataclass(frozen=True)
class Stamp:
    """Size and time of a file: a cheap test of whether it is unchanged."""

    size: int
    mtime_ns: int


# The size of no file: such a video is not compared with the disk.
NO_FILE = Stamp(-1, 0)


@dataclass(frozen=True)
class KnownVideo:
    """A video of the library as ``add`` needs it."""

    id: int
    path: str
    content_hash: str
    stamp: Stamp


@dataclass(frozen=True)
class RowBatch:
    """Rows with their vectors; all arrays have N entries, ``vectors`` is (N, D) float32."""

    ids: Int64
    video_ids: Int64
    spans: tuple[tuple[float, float], ...]
    vectors: Float32


class Store:
    """Reads ``library.sqlite`` over one connection; the caller serialises its use."""

    def __init__(self, connection: sqlite3.Connection, file: Path) -> None:
        """Use ``open_to_read``."""
        self.connection = connection
        self.file = file

    @classmethod
    def open_to_read(cls, folder: Path) -> Store | None:
        """The store of a folder, read-only; None where it has no tables yet.

        Raises:
            LibraryError: damaged, newer, not a library or not readable.
        """
        file = folder / schema.FILE_NAME
        connection = schema.open_reader(file)
        return None if connection is None else cls(connection, file)

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    @contextmanager
    def snapshot(self) -> Generator[None, None, None]:
        """All reads inside use one state, whatever a writer commits meanwhile."""
        with schema.guard(self.file, "read"), schema.transaction(self.connection, "DEFERRED"):
            yield

    def renew_snapshot(self) -> None:
        """Inside ``snapshot``: continue with the present state; drop what was read before."""
        with schema.guard(self.file, "read"):
            self.connection.execute("COMMIT")
            self.connection.execute("BEGIN DEFERRED")

    def data_version(self) -> int:
        """A number that changes with every commit of another connection, while this one is open."""
        return int(self.fetch("PRAGMA data_version")[0][0])

    def compacted_at(self) -> int:
        """Tombstones of earlier generations are gone, so older caches cannot be updated."""
        found = self.fetch("SELECT value FROM meta WHERE key = 'compacted_at'")
        return int(found[0][0]) if found else 0

    def meta(self) -> dict[str, str]:
        """The manifest: model, fingerprint, dim, window_s, stride_s, n_frames, generation ..."""
        return dict(self.fetch("SELECT key, value FROM meta"))

    def counts(self) -> tuple[int, int, float]:
        """Videos, rows, and the total duration in seconds."""
        videos, duration_s = self.fetch("SELECT count(*), total(duration_s) FROM videos")[0]
        return int(videos), self.row_count(), float(duration_s)

    def context_size(self) -> tuple[int, int]:
        """Number of rows that have context tokens, and the bytes of the tokens."""
        rows, size = self.fetch("SELECT count(*), total(length(tokens)) FROM contexts")[0]
        return int(rows), int(size)

    def contexts(self, row_ids: Sequence[int]) -> tuple[Int64, Float16]:
        """The rows among ``row_ids`` that have context tokens, and the tokens.

        Returns:
            Ids (N,) in rising order, and tokens (N, k, E) float16.
        """
        shape = self._context_shape()
        found = sorted(
            self.fetch_in("SELECT row_id, tokens FROM contexts WHERE row_id IN", row_ids)
        )
        tokens = np.empty((len(found), *shape), np.float16)
        for place, (row_id, blob) in enumerate(found):
            values = self._values(blob, shape[0] * shape[1], f"the context of row {row_id}")
            tokens[place] = values.reshape(shape)
        return np.array([r[0] for r in found], np.int64), tokens

    def row_count(self) -> int:
        """Number of rows."""
        return int(self.fetch("SELECT count(*) FROM rows")[0][0])

    def has_rows(self) -> bool:
        """Whether there is any row, at no cost."""
        return bool(self.fetch("SELECT EXISTS (SELECT 1 FROM rows)")[0][0])

    def known(self) -> list[KnownVideo]:
        """Every video with what identifies its file."""
        return [_known(row) for row in self.fetch(_KNOWN)]

    def with_content(self, content_hash: str) -> list[KnownVideo]:
        """The videos of one content, oldest first."""
        found = self.fetch(f"{_KNOWN} WHERE content_hash = ? ORDER BY id", (content_hash,))
        return [_known(row) for row in found]

    def at_path(self, path: str) -> KnownVideo | None:
        """The video of a path."""
        found = self.fetch(f"{_KNOWN} WHERE path = ?", (path,))
        return _known(found[0]) if found else None

    def paths(self, video_ids: Sequence[int] | None = None) -> dict[int, str]:
        """Path by video id, of all videos or of some."""
        if video_ids is None:
            return dict(self.fetch("SELECT id, path FROM videos"))
        return dict(self.fetch_in("SELECT id, path FROM videos WHERE id IN", video_ids))

    def videos(self) -> list[VideoRow]:
        """Every video, by path."""
        tags = self.tags()
        found = self.fetch(
            """SELECT v.id, v.path, v.duration_s, v.added_at_s, v.unreadable_windows,
                (SELECT count(*) FROM rows r WHERE r.video_id = v.id) FROM videos v ORDER BY path"""
        )
        return [VideoRow(r[1], r[2], r[5], r[3], tags.get(r[0], {}), r[4]) for r in found]

    def tags(self, video_ids: Sequence[int] | None = None) -> dict[int, dict[str, str]]:
        """Tags by video id, of all videos or of some."""
        if video_ids is None:
            found = self.fetch("SELECT video_id, key, value FROM tags ORDER BY video_id, key")
        else:
            found = self.fetch_in(
                "SELECT video_id, key, value FROM tags WHERE video_id IN", video_ids
            )
        tags: dict[int, dict[str, str]] = {}
        for video_id, key, value in found:
            tags.setdefault(video_id, {})[key] = value
        return tags

    def tag_keys(self) -> list[str]:
        """Every tag key in use, sorted."""
        return [r[0] for r in self.fetch("SELECT DISTINCT key FROM tags ORDER BY key")]

    def tagged(self, key: str, value: str) -> set[int]:
        """Ids of the videos with this tag."""
        found = self.fetch("SELECT video_id FROM tags WHERE key = ? AND value = ?", (key, value))
        return {r[0] for r in found}

    def row_ids(self, video_ids: Iterable[int]) -> Int64:
        """Sorted ids of the rows of some videos."""
        found = self.fetch_in("SELECT id FROM rows WHERE video_id IN", list(video_ids))
        return np.sort(np.array([r[0] for r in found], np.int64))

    def dead_ids(self, since: int = 0) -> Int64:
        """Sorted ids of rows deleted at or after a generation, but for those compacted away."""
        query = "SELECT row_id FROM tombstones WHERE generation >= ? ORDER BY row_id"
        return np.array([r[0] for r in self.fetch(query, (since,))], np.int64)

    def rows(self, row_ids: Sequence[int], dim: int) -> RowBatch:
        """The rows of some ids, in the order of their ids."""
        query = "SELECT id, video_id, start_s, end_s, vector FROM rows WHERE id IN"
        return self._batch(sorted(self.fetch_in(query, row_ids)), dim)

    def neighbours(
        self, video_id: int, start_s: float, end_s: float, dim: int, *, later: bool
    ) -> Iterator[RowBatch]:
        """The rows before or after a window of a video, nearest first, in growing batches."""
        where, order = (">", "ASC") if later else ("<", "DESC")
        query = (
            "SELECT id, video_id, start_s, end_s, vector FROM rows WHERE video_id = ? "
            f"AND (start_s, end_s) {where} (?, ?) ORDER BY start_s {order}, end_s {order} LIMIT ?"
        )
        limit = 8
        while found := self.fetch(query, (video_id, start_s, end_s, limit)):
            yield self._batch(found, dim)
            if len(found) < limit:
                return
            start_s, end_s = found[-1][2:4]
            limit = min(limit * 4, _CHUNK)

    def fetch(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of an SQL query."""
        with schema.guard(self.file, "read"):
            return self.connection.execute(query, values).fetchall()

    def fetch_in(self, query: str, values: Sequence[int]) -> list[tuple[Any, ...]]:
        """All rows of an SQL query that ends in ``IN``, for any number of values."""
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(values), _CHUNK):
            chunk = [int(v) for v in values[start : start + _CHUNK]]
            found += self.fetch(f"{query} ({','.join('?' * len(chunk))})", chunk)
        return found

    def _batch(self, found: Sequence[tuple[Any, ...]], dim: int) -> RowBatch:
        vectors = np.empty((len(found), dim), np.float32)
        for place, row in enumerate(found):
            vectors[place] = self._vector(row[4], dim, row[0])
        return RowBatch(
            np.array([r[0] for r in found], np.int64),
            np.array([r[1] for r in found], np.int64),
            tuple((r[2], r[3]) for r in found),
            vectors,
        )

    def _context_shape(self) -> tuple[int, int]:
        """(k, E) of every context; (0, 0) where there is none yet."""
        found = self.fetch("SELECT value FROM meta WHERE key = 'context_shape'")
        k, width = found[0][0].split() if found else (0, 0)
        return int(k), int(width)

    def _vector(self, blob: bytes, dim: int, row_id: int) -> Float16:
        return self._values(blob, dim, f"row {row_id}")

    def _values(self, blob: bytes, size: int, what: str) -> Float16:
        if len(blob) != size * STORED.itemsize:
            raise LibraryError(
                f"library {self.file.parent} is damaged ({what} has {len(blob)} bytes, not "
                f"{size * STORED.itemsize}); restore a copy, or index the videos again"
            )
        return np.frombuffer(blob, STORED)


def _known(row: tuple[Any, ...]) -> KnownVideo:
    return KnownVideo(row[0], row[1], row[2], Stamp(row[3], row[4]))

"""The store of a library, its source of truth: videos, rows, tags and the manifest.

A row is a window with its vector, of the whole frame or of one person. Vectors are stored as
little-endian float16, which halves the file. Rounding moves an inner product of unit vectors by
about 1e-4 at most; the best ten rows of a query stay the same except for near ties
(``benchmarks/index_memory.py --precision`` measures it).
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Self

from vlar.errors import LibraryError
from vlar.library.rows import Bool, Float16, Int64, RowBatch, RowFilter, RowTable, VideoRow
from vlar.library.store import annotations as annotation_tables
from vlar.library.store import schema, values
from vlar.library.store.annotations import A, Annotation
from vlar.library.store.base import LibraryStore
from vlar.library.store.row_check import COLUMNS as ROW
from vlar.library.store.row_check import (
    NO_RECORDING,
    STORED,
    CheckedRows,
    FoundRow,
    checked_rows,
    context_is_whole,
)
from vlar.library.store.values import RecordingFacts, Stamp

VECTOR_TYPE = "float16"
_RECORDINGS = f"SELECT {values.RECORDING} FROM videos"
_FACTS = {"duration_s": "duration_s", "added": "added_at_s", "modified": "mtime_ns / 1e9"}
# The index by time answers it: no page with vectors is read but those of the rows themselves.
_ADJACENT = "SELECT id, {}, {} FROM rows WHERE id IN".format(
    *(
        "(SELECT id FROM rows AS other WHERE other.video_id = rows.video_id AND other.track = "
        f"rows.track AND (other.start_s, other.end_s) {sign} (rows.start_s, rows.end_s) "
        f"ORDER BY other.start_s {order}, other.end_s {order} LIMIT 1)"
        for sign, order in (("<", "DESC"), (">", "ASC"))
    )
)
_CHUNK = 500  # below the number of parameters any SQLite allows
_BATCH_ROWS = 8192
_BEFORE_ALL = -(1 << 63)


class SqliteStore(LibraryStore):
    """Reads ``library.sqlite`` over one connection; the caller serialises its use.

    Attributes:
        connection: To the database.
        file: The database.
        damaged: Rows and contexts that were left out of what was read: what is wrong, by row id.
            The caller clears it before a query.
    """

    def __init__(self, connection: sqlite3.Connection, file: Path) -> None:
        """Use ``open_to_read``."""
        self.connection = connection
        self.file = file
        self.damaged: dict[int, str] = {}

    @classmethod
    def open_to_read(cls, folder: Path) -> Self | None:
        """The store of a folder, read-only; None where it has no tables yet.

        Raises:
            LibraryError: damaged, newer, not a library or not readable.
        """
        file = folder / schema.FILE_NAME
        connection = schema.open_reader(file)
        return None if connection is None else cls(connection, file)

    @property
    def address(self) -> str:
        return str(self.file.parent)

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def snapshot(self) -> Generator[None, None, None]:
        with schema.guard(self.file, "read"), schema.transaction(self.connection, "DEFERRED"):
            yield

    def renew_snapshot(self) -> None:
        """Continue a ``snapshot`` with the current state; drop what was read before."""
        with schema.guard(self.file, "read"):
            self.connection.execute("COMMIT")
            self.connection.execute("BEGIN DEFERRED")

    def data_version(self) -> int:
        return int(self.fetch("PRAGMA data_version")[0][0])

    def compacted_at(self) -> int:
        """Tombstones of earlier generations are gone, so older caches cannot be updated."""
        meta = self.meta()
        return values.counter(meta, "compacted_at") or 0 if "compacted_at" in meta else 0

    def meta(self) -> dict[str, str]:
        """The manifest: model, fingerprint, dim, window_s, stride_s, n_frames, generation ...

        Raises:
            LibraryError: a value is not one that vlar writes.
        """
        rows = self.fetch("SELECT key, value FROM meta")
        if faults := values.manifest_faults(rows):
            raise self.damage(f"its manifest: {', '.join(faults)}")
        return dict(rows)

    def counts(self) -> tuple[int, int, float]:
        videos, duration_s = self.fetch("SELECT count(*), total(duration_s) FROM videos")[0]
        if not values.is_number(duration_s, 0, math.inf):
            raise self.damage("the length of a recording is not a number of seconds")
        return int(videos), self.row_count(), float(duration_s)

    def contexts(self, row_ids: Sequence[int]) -> tuple[Int64, Float16]:
        shape = self._context_shape()
        query = "SELECT row_id, tokens, checksum FROM contexts WHERE row_id IN"
        good: dict[int, bytes] = {}
        for row_id, blob, checksum in sorted(self.fetch_in(query, row_ids)):
            if context_is_whole(blob, checksum, shape):
                good[row_id] = blob
            else:
                self.damaged[row_id] = "its context has changed"
        tokens = np.frombuffer(b"".join(good.values()), STORED).reshape(len(good), *shape)
        return np.array(list(good), np.int64), tokens

    def row_count(self) -> int:
        """Number of rows."""
        return int(self.fetch("SELECT count(*) FROM rows")[0][0])

    def has_rows(self) -> bool:
        return bool(self.fetch("SELECT EXISTS (SELECT 1 FROM rows)")[0][0])

    def recordings(self, content_hash: str | None = None) -> list[RecordingFacts]:
        if content_hash is None:
            rows = self.fetch(f"{_RECORDINGS} ORDER BY id")
        else:
            rows = self.fetch(f"{_RECORDINGS} WHERE content_hash = ? ORDER BY id", (content_hash,))
        return [self._recording(facts) for facts in rows]

    def at_path(self, path: str) -> RecordingFacts | None:
        rows = self.fetch(f"{_RECORDINGS} WHERE path = ?", (path,))
        return self._recording(rows[0]) if rows else None

    def paths(self, video_ids: Sequence[int] | None = None) -> dict[int, str]:
        """Path by video id, of all videos or of some; one whose path is damaged is left out."""
        if video_ids is None:
            paths = dict(self.fetch("SELECT id, path FROM videos"))
        else:
            paths = dict(self.fetch_in("SELECT id, path FROM videos WHERE id IN", video_ids))
        if all(map(values.is_path, paths.values())):
            return paths
        return {video_id: path for video_id, path in paths.items() if values.is_path(path)}

    def videos(self) -> list[VideoRow]:
        tags = self.tags()
        video_rows = self.fetch(
            f"""SELECT {values.RECORDING},
                (SELECT count(*) FROM rows WHERE video_id = videos.id AND track = 0)
                FROM videos ORDER BY path"""
        )
        rows: list[VideoRow] = []
        for *facts, windows in video_rows:
            self._require_recording(facts)
            video_id, path, digest, _, _, duration_s, unreadable, added_at_s = facts
            tags_of_video = tags.get(video_id, {})
            counted = duration_s, windows, added_at_s, tags_of_video, unreadable, digest
            rows.append(VideoRow(path, *counted))
        return rows

    def fact(self, name: str) -> dict[int, float]:
        rows = self.fetch(f"SELECT id, {_FACTS[name]} FROM videos")
        numbers = ((video_id, value) for video_id, value in rows if isinstance(value, float))
        lengths = name == "duration_s"
        return {i: value for i, value in numbers if not lengths or values.is_length(value)}

    def tags(self, video_ids: Sequence[int] | None = None) -> dict[int, dict[str, str]]:
        """Tags by video id, of all videos or of some; those that are not text are left out."""
        if video_ids is None:
            rows = self.fetch("SELECT video_id, key, value FROM tags ORDER BY video_id, key")
        else:
            rows = self.fetch_in(
                "SELECT video_id, key, value FROM tags WHERE video_id IN", video_ids
            )
        tags: dict[int, dict[str, str]] = {}
        for video_id, key, value in rows:
            if values.is_text(key) and values.is_text(value):
                tags.setdefault(video_id, {})[key] = value
        return tags

    def tag_keys(self) -> list[str]:
        rows = self.fetch("SELECT DISTINCT key FROM tags ORDER BY key")
        return [key for (key,) in rows if values.is_text(key)]

    def tagged(self, key: str, value: str | None = None) -> dict[int, str]:
        query, parameters = "SELECT video_id, value FROM tags WHERE key = ?", [key]
        if value is not None:
            query, parameters = f"{query} AND value = ?", [key, value]
        held = self.fetch(query, parameters)
        return {i: has for i, has in held if isinstance(i, int) and isinstance(has, str)}

    def row_ids(self, video_ids: Iterable[int]) -> Int64:
        """Sorted ids of the rows of some videos."""
        rows = self.fetch_in("SELECT id FROM rows WHERE video_id IN", list(video_ids))
        return np.sort(np.array([r[0] for r in rows], np.int64))

    def ids_of(self, *, people: bool) -> Int64:
        rows = self.fetch(f"SELECT id FROM rows WHERE track {'>' if people else '='} 0")
        return np.sort(np.array([r[0] for r in rows], np.int64))

    def dead_ids(self, since: int = 0) -> Int64:
        """Sorted ids of rows deleted at or after a generation, but for those compacted away."""
        query = "SELECT row_id FROM tombstones WHERE generation >= ? ORDER BY row_id"
        return np.array([r[0] for r in self.fetch(query, (since,))], np.int64)

    def rows(self, row_ids: Sequence[int], dim: int) -> RowBatch:
        return self.checked(self._found(row_ids), dim).batch

    def _found(self, row_ids: Sequence[int]) -> list[FoundRow]:
        query = f"SELECT {ROW} FROM rows WHERE id"
        if len(row_ids) > _CHUNK and max(row_ids) - min(row_ids) < 1.25 * len(row_ids):
            rows = self.fetch(f"{query} BETWEEN ? AND ? ORDER BY id", (min(row_ids), max(row_ids)))
            if len(rows) == len(row_ids):  # else others lie between them
                return rows
        return sorted(self.fetch_in(f"{query} IN", row_ids), key=itemgetter(0))

    def spans(self, video_id: int) -> list[tuple[float, float]]:
        query = (
            "SELECT start_s, end_s FROM rows WHERE video_id = ? AND track = 0 "
            "ORDER BY start_s, end_s"
        )
        rows = self.fetch(query, (video_id,))
        return [(s, e) for s, e in rows if isinstance(s, float) and isinstance(e, float)]

    def scan(self, dim: int, allowed: RowFilter) -> Iterator[CheckedRows]:
        ids = self._scanned_ids(allowed)
        for start in range(0, len(ids), _BATCH_ROWS):
            yield self.checked(self._found(ids[start : start + _BATCH_ROWS].tolist()), dim)

    def _scanned_ids(self, allowed: RowFilter) -> Int64:
        """Ids of the rows; those of no recording are noted as damaged."""
        videos = allowed.videos
        paths = self.paths(None if videos is None or len(videos) > _CHUNK else sorted(videos))
        if allowed.videos is not None or allowed.rows is not None:
            chosen = paths.keys() if allowed.videos is None else allowed.videos & paths.keys()
            ids = self.row_ids(chosen)
            return ids if allowed.rows is None else ids[np.isin(ids, list(allowed.rows))]
        ids = self.row_ids(paths)
        if len(ids) < self.row_count():
            every = {row_id for (row_id,) in self.fetch("SELECT id FROM rows")}
            self.damaged.update(dict.fromkeys(every.difference(ids.tolist()), NO_RECORDING))
        return ids

    def source(self, dim: int) -> StoreRows:
        return StoreRows(self, dim)

    def neighbours(
        self, video_id: int, start_s: float, end_s: float, dim: int, *, later: bool, track: int = 0
    ) -> Iterator[RowBatch]:
        where, order = (">", "ASC") if later else ("<", "DESC")
        query = (
            f"SELECT {ROW} FROM rows WHERE video_id = ? AND track = ? "
            f"AND (start_s, end_s) {where} (?, ?) ORDER BY start_s {order}, end_s {order} LIMIT ?"
        )
        limit = 8
        while rows := self.fetch(query, (video_id, track, start_s, end_s, limit)):
            yield self.checked(rows, dim).batch
            last = rows[-1][2:4]
            if len(rows) < limit or not _is_beyond(last, (start_s, end_s), later):
                return  # the end, or times or an index that are damaged
            start_s, end_s = last
            limit = min(limit * 4, _CHUNK)

    def adjacent(self, row_ids: Sequence[int]) -> dict[int, tuple[int | None, int | None]]:
        return {i: (before, after) for i, before, after in self.fetch_in(_ADJACENT, row_ids)}

    def mapped(self, row_ids: Sequence[int] | None = None) -> set[int]:
        if not self.fetch("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'mapped'"):
            return set()
        query = "SELECT row_id FROM mapped"
        if row_ids is None:
            rows = self.fetch(query)
        else:
            rows = self.fetch_in(f"{query} WHERE row_id IN", row_ids)
        return {row_id for (row_id,) in rows if isinstance(row_id, int)}

    def mapped_by_time(self, row_ids: Sequence[int] | None = None) -> list[tuple[int, int]]:
        if not self.mapped(row_ids):
            return []
        query = "SELECT video_id, rows.id FROM rows JOIN mapped ON mapped.row_id = rows.id"
        if row_ids is None:
            return self.fetch(f"{query} ORDER BY video_id, track, start_s, end_s")
        return self.fetch_in(f"{query} WHERE rows.id IN", row_ids)

    def captions(self, row_ids: Sequence[int] | None = None) -> dict[int, str]:
        return annotation_tables.captions_by_row(self, row_ids)

    def annotations(self, kind: type[A], owners: Sequence[int | str] | None = None) -> list[A]:
        return annotation_tables.read(self, kind, owners)

    def annotated(self, kind: type[Annotation]) -> set[int]:
        return annotation_tables.owners(self, kind)

    def checked(self, found: Sequence[FoundRow], dim: int) -> CheckedRows:
        """Rows of the columns ``ROW`` without the damaged ones, which ``damaged`` keeps."""
        rows = checked_rows(found, dim)
        self.damaged.update(rows.damaged)
        return rows

    def damage(self, what: str) -> LibraryError:
        """The error for damage that ``vlar index verify --repair`` can remove."""
        return values.damaged(self.file.parent, what)

    def fetch(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of an SQL query. Text that is not UTF-8 is given as bytes."""
        try:
            return self.connection.execute(query, parameters).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if "decode to utf-8" not in str(error).lower():
                raise schema.explain(error, self.file, "read") from error
        with schema.guard(self.file, "read"):
            self.connection.text_factory = _text_or_bytes
            try:
                return self.connection.execute(query, parameters).fetchall()
            finally:
                self.connection.text_factory = str

    def fetch_in(self, query: str, ids: Sequence[int]) -> list[tuple[Any, ...]]:
        """All rows of an SQL query that ends in ``IN``, for any number of values."""
        rows: list[tuple[Any, ...]] = []
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            rows += self.fetch(f"{query} ({','.join('?' * len(chunk))})", chunk)
        return rows

    def _context_shape(self) -> tuple[int, int]:
        """(k, E) of every context; (0, 0) where there is none yet."""
        return values.context_shape(self.meta()) or (0, 0)

    def _require_recording(self, facts: Sequence[Any]) -> None:
        if faults := values.recording_faults(facts):
            raise self.damage(f"recording {facts[0]}: {', '.join(faults)}")

    def _recording(self, facts: Sequence[Any]) -> RecordingFacts:
        self._require_recording(facts)
        video_id, path, content_hash, size, mtime_ns, *fields = facts
        return RecordingFacts(video_id, path, content_hash, Stamp(size, mtime_ns), *fields)


class StoreRows:
    """The rows of a store in rising order of their ids (a ``RowSource``). Use inside a snapshot.

    Damaged rows and rows of no recording are left out.
    """

    def __init__(self, store: SqliteStore, dim: int, after_id: int = _BEFORE_ALL) -> None:
        self.dim, self._store, self._after_id = dim, store, after_id
        self._count: int | None = None
        self._owners: Int64 | None = None
        self.damaged: set[int] = set()  # ids of the rows left out of what was read so far

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
        while row_block := self._store.fetch(query, (last, _BATCH_ROWS)):
            if row_block[-1][0] <= last:  # the pages of a damaged file may form a circle
                raise self._store.damage("its rows are not in order")
            last = row_block[-1][0]
            rows = self._store.checked(row_block, self.dim)
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


def _is_beyond(times: tuple[Any, ...], others: tuple[Any, ...], later: bool) -> bool:
    if not all(isinstance(time, float) for time in times):
        return False
    return times > others if later else times < others


def _text_or_bytes(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw

"""The one writer of a library: every change of ``library.sqlite``."""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Self

from vlar.errors import LibraryError
from vlar.library.rows import Float16, RowBatch, RowPerson
from vlar.library.store import annotations as annotation_tables
from vlar.library.store import schema
from vlar.library.store.annotations import A, Caption, KeptFrames, RecordingLabels
from vlar.library.store.base import LibraryWriter
from vlar.library.store.paths import is_unicode, matches, place
from vlar.library.store.row_check import STORED, sealed
from vlar.library.store.sqlite import SqliteStore
from vlar.library.store.values import Stamp
from vlar.types import Float32, Window

_MAPPED = """CREATE TABLE IF NOT EXISTS mapped (
    row_id INTEGER PRIMARY KEY REFERENCES rows (id) ON DELETE CASCADE
)"""
_ROW = "FROM rows WHERE video_id = ? AND track = ? AND start_s = ? AND end_s = ?"


class SqliteWriter(SqliteStore, LibraryWriter):
    """Writes ``library.sqlite``. Its maker holds the writer's lock (``vlar.library.store.trust``).

    Every change belongs inside ``with writer.transaction()``.
    """

    @classmethod
    def open_to_write(cls, folder: Path) -> Self:
        """The store of a folder, created where absent.

        Raises:
            LibraryError: damaged, newer, not a library or not writable.
        """
        file = folder / schema.FILE_NAME
        return cls(schema.open_writer(file), file)

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        with schema.guard(self.file, "write to"), schema.transaction(self.connection):
            yield

    def matching(self, pattern: str | Path) -> list[int]:
        prefix = place(pattern)
        if not is_unicode(prefix):
            return []  # no recording has such a path
        inside = prefix.rstrip("/") + "/"
        query = "SELECT id FROM videos WHERE path = ? OR (path >= ? AND path < ?)"
        ids = {r[0] for r in self.fetch(query, (prefix, inside, inside[:-1] + "0"))}
        if set(prefix) & set("*?["):
            ids |= {i for i, path in self.paths().items() if matches(path, pattern)}
        return sorted(ids)

    def set_meta(self, facts: Mapping[str, str]) -> None:
        self.connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", facts.items())

    def put_video(
        self,
        path: str,
        content_hash: str,
        stamp: Stamp,
        duration_s: float,
        added_at_s: float | None = None,
    ) -> int:
        rows = self.fetch("SELECT id FROM videos WHERE path = ?", (path,))
        added_at_s = time.time() if added_at_s is None else added_at_s
        facts = (content_hash, stamp.size, stamp.mtime_ns, duration_s, added_at_s)
        if not rows:
            return self._insert(
                "INSERT INTO videos (content_hash, size, mtime_ns, duration_s, added_at_s, path) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (*facts, path),
            )
        video_id = int(rows[0][0])
        self.connection.execute(
            "UPDATE videos SET content_hash = ?, size = ?, mtime_ns = ?, duration_s = ?, "
            "added_at_s = ?, unreadable_windows = 0 WHERE id = ?",
            (*facts, video_id),
        )
        self.connection.execute("DELETE FROM rows WHERE video_id = ?", (video_id,))
        self._rows_changed()
        return video_id

    def insert_rows(
        self,
        video_id: int,
        windows: Sequence[Window],
        vectors: Float32,
        people: Sequence[RowPerson | None] = (),
        contexts: Sequence[Float16 | None] = (),
        mapped: Sequence[bool] = (),
    ) -> None:
        shown = people or [None] * len(windows)
        blobs = (vector.tobytes() for vector in vectors.astype(STORED))
        self.connection.executemany(
            "INSERT INTO rows (video_id, start_s, end_s, vector, checksum, track, box) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (video_id, w.start_s, w.end_s, blob, *sealed(w, blob, person))
                for w, blob, person in zip(windows, blobs, shown, strict=True)
            ),
        )
        self._rows_changed()
        spans = zip(windows, shown, contexts, strict=True) if contexts else ()
        if with_contexts := [(w, who, tokens) for w, who, tokens in spans if tokens is not None]:
            self._insert_contexts(video_id, with_contexts)
        if any(mapped):
            self.connection.execute(_MAPPED)
            marked = itertools.compress(zip(windows, shown, strict=True), mapped)
            self.connection.executemany(
                f"INSERT INTO mapped SELECT id {_ROW}",
                (_row_key(video_id, w, who) for w, who in marked),
            )

    def _insert_contexts(
        self, video_id: int, kept: Sequence[tuple[Window, RowPerson | None, Float16]]
    ) -> None:
        """Add the context tokens (k, E) of rows that are there."""
        shape, others = np.stack([tokens for *_, tokens in kept]).shape[1:], self._context_shape()
        if others == (0, 0):
            self.set_meta({"context_shape": f"{shape[0]} {shape[1]}"})
        elif shape != others:
            raise LibraryError(
                f"library {self.file.parent} keeps contexts of shape {others}, the model gave "
                f"{shape}; index the videos into a new library, or without contexts (--no-context)"
            )
        blobs = ((w, who, tokens.astype(STORED).tobytes()) for w, who, tokens in kept)
        self.connection.executemany(
            f"INSERT INTO contexts (tokens, checksum, row_id) SELECT ?, ?, id {_ROW}",
            (
                (blob, schema.row_checksum(0, 0, blob), *_row_key(video_id, w, who))
                for w, who, blob in blobs
            ),
        )

    def put_encoded(self, video_id: int, rows: RowBatch, vectors: Float32) -> None:
        self.delete_rows(rows.ids.tolist())
        self.insert_rows(video_id, rows.windows, vectors, rows.persons)

    def replace_rows(
        self,
        video_id: int,
        windows: Sequence[Window],
        vectors: Float32,
        people: Sequence[RowPerson | None] = (),
        mapped: Sequence[bool] = (),
    ) -> None:
        """Give a video other rows, as in ``insert_rows``; what else is known of it stays."""
        self.connection.execute("DELETE FROM rows WHERE video_id = ?", (video_id,))
        self.insert_rows(video_id, windows, vectors, people, (), mapped)

    def update(
        self,
        video_id: int,
        *,
        path: str | None = None,
        stamp: Stamp | None = None,
        unreadable: int | None = None,
        tags: Mapping[str, str | None] | None = None,
    ) -> None:
        facts: dict[str, object] = {}
        if path is not None:
            self.delete([r[0] for r in self.fetch("SELECT id FROM videos WHERE path = ?", (path,))])
            facts["path"] = path
        if stamp is not None:
            facts |= {"size": stamp.size, "mtime_ns": stamp.mtime_ns}
        if unreadable is not None:
            facts["unreadable_windows"] = unreadable
        if facts:
            columns = ", ".join(f"{column} = ?" for column in facts)
            self.connection.execute(
                f"UPDATE videos SET {columns} WHERE id = ?", (*facts.values(), video_id)
            )
        self.connection.executemany(
            "INSERT OR REPLACE INTO tags VALUES (?, ?, ?)",
            ((video_id, key, value) for key, value in (tags or {}).items() if value is not None),
        )
        self.connection.executemany(
            "DELETE FROM tags WHERE video_id = ? AND key = ?",
            ((video_id, key) for key, value in (tags or {}).items() if value is None),
        )

    def annotate(self, kind: type[A], owner: int | str, annotations: Iterable[A]) -> None:
        annotation_tables.write(self, kind, owner, annotations)

    def delete(self, video_ids: Sequence[int]) -> None:
        """Forget videos with their rows, tags, captions and labels."""
        for kind in (Caption, KeptFrames, RecordingLabels):
            annotation_tables.forget(self, kind, video_ids)
        for table, column in (("rows", "video_id"), ("tags", "video_id"), ("videos", "id")):
            self.connection.executemany(
                f"DELETE FROM {table} WHERE {column} = ?", ((i,) for i in video_ids)
            )
        if video_ids:
            self._rows_changed()

    def delete_rows(self, row_ids: Sequence[int]) -> None:
        """Delete rows and their contexts."""
        for table, column in (("contexts", "row_id"), ("rows", "id")):
            self.connection.executemany(
                f"DELETE FROM {table} WHERE {column} = ?", ((i,) for i in row_ids)
            )
        self._rows_changed()

    def delete_orphans(self) -> None:
        """Delete rows, contexts and tags whose video or row is gone."""
        for table in ("rows", "tags"):
            self.connection.execute(
                f"DELETE FROM {table} WHERE video_id NOT IN (SELECT id FROM videos)"
            )
        self.connection.execute("DELETE FROM contexts WHERE row_id NOT IN (SELECT id FROM rows)")
        self._rows_changed()

    def read_again(self, path: str) -> None:
        self.connection.execute(
            "UPDATE videos SET content_hash = ?, size = 0, mtime_ns = 0 WHERE path = ?",
            (schema.READ_AGAIN, path),
        )

    def _rows_changed(self) -> None:
        self.connection.execute(
            "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation'"
        )

    def _insert(self, query: str, values: tuple[Any, ...]) -> int:
        return int(self.connection.execute(query, values).lastrowid or 0)


def _row_key(
    video_id: int, window: Window, person: RowPerson | None
) -> tuple[int, int, float, float]:
    """The values that ``_ROW`` asks for."""
    return video_id, 0 if person is None else person.track, window.start_s, window.end_s

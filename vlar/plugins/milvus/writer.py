"""Changes a library in Milvus (``vlar.library.store.base.LibraryWriter``)."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from vlar.errors import LibraryError
from vlar.library.rows import Float16, RowBatch, RowPerson
from vlar.library.store.annotations import (
    A,
    Caption,
    FailedFile,
    KeptFrames,
    LostFrames,
    RecordingLabels,
)
from vlar.library.store.base import LibraryWriter
from vlar.library.store.paths import is_unicode, matches, place
from vlar.library.store.schema import READ_AGAIN
from vlar.library.store.values import RecordingFacts, Stamp
from vlar.plugins.milvus import serialization
from vlar.plugins.milvus.client import MilvusConnection
from vlar.plugins.milvus.layout import META_KEY, create_rows, manifest_record, width_of
from vlar.plugins.milvus.lease import WriterLease
from vlar.plugins.milvus.recording_record import (
    KIND,
    ROWS_A_VERSION,
    RecordingRecord,
    first_id,
    text_key,
)
from vlar.plugins.milvus.state import VisibleVersions
from vlar.plugins.milvus.store import MilvusStore, failed_key, failed_record
from vlar.plugins.milvus.transaction import Transaction, recover
from vlar.types import Float32, Window

_FIELDS = ("video_id", "path_key", "content_key")


class Lookup:
    """Ids of recordings by path and by content."""

    def __init__(self, connection: MilvusConnection) -> None:
        self._by_path: dict[int, int] = {}
        self._by_content: dict[int, list[int]] = {}
        self._keys: dict[int, tuple[int, int]] = {}
        where = f'kind == "{KIND}"'
        for page in connection.pages(connection.records, where, _FIELDS):
            for entity in page:
                keys = _short(entity["path_key"]), _short(entity["content_key"])
                self._add(int(entity["video_id"]), keys)

    def at_path(self, path: str) -> int | None:
        """The recording of a path; its path must be compared."""
        return self._by_path.get(_short(text_key(path)))

    def with_content(self, content_hash: str) -> list[int]:
        """The recordings of a content, oldest first; their contents must be compared."""
        return sorted(self._by_content.get(_short(text_key(content_hash)), ()))

    def put(self, recording: RecordingRecord) -> None:
        """Add a recording, or change what is known of it."""
        self.drop(recording.id)
        keys = _short(text_key(recording.path)), _short(text_key(recording.content_hash))
        self._add(recording.id, keys)

    def drop(self, video_id: int) -> None:
        """Forget a recording."""
        if video_id not in self._keys:
            return
        path, content = self._keys.pop(video_id)
        if self._by_path.get(path) == video_id:
            del self._by_path[path]
        self._by_content[content].remove(video_id)

    def _add(self, video_id: int, keys: tuple[int, int]) -> None:
        self._keys[video_id] = keys
        self._by_path[keys[0]] = video_id
        self._by_content.setdefault(keys[1], []).append(video_id)


def _short(key: str) -> int:
    return int(key[:15], 16)


_FLUSHED = 1000  # rows of a run after which Milvus Lite is asked to make segments


class MilvusWriter(MilvusStore, LibraryWriter):
    """The one writer of a library in Milvus. Its maker holds the lease."""

    def __init__(
        self,
        connection: MilvusConnection,
        library_id: str,
        lease: WriterLease,
    ) -> None:
        self.width: int | None = width_of(connection)
        super().__init__(connection, library_id, self.width is not None)
        self.lease = lease
        self.state = recover(connection)
        self._running: Transaction | None = None
        self.places: dict[int, dict[serialization.RowKey, int]] = {}
        self._lookup: Lookup | None = None
        self._broken: set[str] | None = None
        self._row_count = 0

    def finish(self) -> None:
        """Make what was written quick to search."""
        with suppress(LibraryError):
            if self.connection.is_lite and self._row_count >= _FLUSHED:
                self.connection.flush(self.connection.rows)

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """Writes inside are kept recording by recording: each whole or not at all."""
        running = Transaction(self.connection, self.lease, self.state)
        self._running = running
        self._catalog = None
        try:
            yield
            running.check()
            self.state = running.commit()
        except BaseException:
            self._lookup = None
            with suppress(LibraryError):  # else the next writer does it
                self.state = running.roll_back()
            raise
        finally:
            self._running = None
            self.places.clear()
            self._catalog = None

    def _read_view(self) -> VisibleVersions:
        """The state before the running transaction: nobody else changes it."""
        state, rows = self.state, self.connection.rows
        before = state.generation, state.next_version
        return VisibleVersions(*before, removals=state.removals, rows=rows)

    def _read_state(self) -> tuple[VisibleVersions, dict[str, str]]:
        return self._read_view(), super()._read_state()[1]

    def _changed(self) -> Mapping[int, RecordingRecord | None]:
        return {} if self._running is None else self._running.changed

    @property
    def now(self) -> Transaction:
        """The running transaction.

        Raises:
            LibraryError: none is running.
        """
        if self._running is None:
            raise LibraryError(f"library {self.address}: a change outside of a transaction")
        return self._running

    def get(self, video_id: int) -> RecordingRecord:
        """A recording as the running transaction has it."""
        record = self.catalog().get(video_id)
        if record is None:
            raise LibraryError(f"library {self.address} has no recording {video_id}")
        return record

    def change(self, recording: RecordingRecord) -> None:
        """Replace a recording; only a new version replaces another one."""
        if recording.id not in self.now.changed:
            recording = replace(recording, replaces=0)
        self._put(recording)

    def _put(self, recording: RecordingRecord) -> None:
        self.now.put(recording)
        self._known().put(recording)

    def _drop(self, recording: RecordingRecord) -> None:
        self.now.drop(recording)
        self._known().drop(recording.id)

    def _known(self) -> Lookup:
        if self._lookup is None:
            self._lookup = Lookup(self.connection)
        return self._lookup

    def _at_path(self, path: str) -> RecordingRecord | None:
        video_id = self._known().at_path(path)
        record = None if video_id is None else self.catalog().get(video_id)
        return record if record is not None and record.path == path else None

    def at_path(self, path: str) -> RecordingFacts | None:
        record = self._at_path(path)
        return None if record is None else record.facts

    def recordings(self, content_hash: str | None = None) -> list[RecordingFacts]:
        if content_hash is None:
            return super().recordings()
        records = self.catalog().some(self._known().with_content(content_hash)).values()
        return [record.facts for record in records if record.content_hash == content_hash]

    # Manifest -----------------------------------------------------------------------------------

    def meta(self) -> dict[str, str]:
        """The manifest, with what the running transaction has changed."""
        return {**super().meta(), **({} if self._running is None else self._running.meta)}

    def set_meta(self, facts: Mapping[str, str]) -> None:
        whole = {**self.meta(), **facts}
        self.now.records[META_KEY] = manifest_record(self.connection, whole)
        self.now.meta = whole

    # Recordings ---------------------------------------------------------------------------------

    def matching(self, pattern: str | Path) -> list[int]:
        if not is_unicode(place(pattern)):
            return []
        return sorted(i for i, path in self.paths().items() if matches(path, pattern))

    def put_video(
        self,
        path: str,
        content_hash: str,
        stamp: Stamp,
        duration_s: float,
        added_at_s: float | None = None,
    ) -> int:
        now, old = self.now, self._at_path(path)
        video_id = now.new_video() if old is None else old.id
        replaces = 0
        if old is not None:
            replaces = old.replaces if old.id in now.changed else old.version
        self._put(
            RecordingRecord(
                video_id,
                now.new_version(),
                path,
                content_hash,
                stamp.size,
                stamp.mtime_ns,
                float(duration_s),
                time.time() if added_at_s is None else added_at_s,
                replaces=replaces,
                tags={} if old is None else old.tags,
            )
        )
        self.places[video_id] = {}
        return video_id

    def update(
        self,
        video_id: int,
        *,
        path: str | None = None,
        stamp: Stamp | None = None,
        unreadable: int | None = None,
        tags: Mapping[str, str | None] | None = None,
    ) -> None:
        record = changed = self.get(video_id)
        if path is not None:
            other = self._at_path(path)
            if other is not None and other.id != video_id:
                self._drop(other)
            changed = replace(changed, path=path)
        if stamp is not None:
            changed = replace(changed, size=stamp.size, mtime_ns=stamp.mtime_ns)
        if unreadable is not None:
            changed = replace(changed, unreadable=unreadable)
        both = {**record.tags, **(tags or {})}
        merged = {key: value for key, value in both.items() if value is not None}
        if merged != record.tags:
            changed = replace(changed, tags=merged)
        if changed != record:
            self.change(changed)

    def delete(self, video_ids: Sequence[int]) -> None:
        for video_id in video_ids:
            self._drop(self.get(video_id))

    def read_again(self, path: str) -> None:
        if (record := self._at_path(path)) is not None:
            self.change(replace(record, content_hash=READ_AGAIN, size=0, mtime_ns=0))

    def rows_deleted(self, video_id: int, count: int) -> None:
        """Remember that a recording has fewer rows."""
        record = self.get(video_id)
        self.change(replace(record, rows=max(record.rows - count, 0)))

    # Rows ---------------------------------------------------------------------------------------

    def insert_rows(
        self,
        video_id: int,
        windows: Sequence[Window],
        vectors: Float32,
        people: Sequence[RowPerson | None] = (),
        contexts: Sequence[Float16 | None] = (),
        mapped: Sequence[bool] = (),
    ) -> None:
        """Add windows with vectors and context tokens to a recording (``LibraryWriter``).

        Raises:
            LibraryError: vectors of another width, a window twice, or more rows than fit.
        """
        self._require_width(int(vectors.shape[1]))
        record, places = self.get(video_id), self.places[video_id]
        if record.rows + len(windows) >= ROWS_A_VERSION:
            raise LibraryError(
                f"{record.path}: a recording in Milvus has fewer than {ROWS_A_VERSION} "
                "rows; cut it, or use longer windows"
            )
        first = first_id(record.version) + record.rows
        for number, key in enumerate(serialization.row_keys(windows, people)):
            if key in places:
                raise LibraryError(
                    f"{record.path}: the window from {key[1]} to {key[2]} s is twice"
                )
            places[key] = first + number + 1
        count = len(windows)
        ids, marks = range(first + 1, first + count + 1), mapped or [False] * count
        entities = serialization.row_entities(
            ids,
            [video_id] * count,
            windows,
            vectors,
            people,
            marks if self.connection.has_marks else None,
        )
        last_s = max((float(window.start_s) for window in windows), default=0.0)
        self.change(
            replace(
                record,
                rows=record.rows + len(windows),
                last_start_s=max(record.last_start_s, last_s),
            )
        )
        self.now.write_rows(entities, serialization.row_bytes(vectors))
        self._row_count += len(windows)
        if any(tokens is not None for tokens in contexts):
            self._insert_contexts(video_id, serialization.row_keys(windows, people), contexts)

    def put_encoded(self, video_id: int, rows: RowBatch, vectors: Float32) -> None:
        entities = serialization.rows_again(rows, vectors, [False] * len(rows.ids))
        self.now.write_rows(entities, serialization.row_bytes(vectors))

    def _insert_contexts(
        self,
        video_id: int,
        keys: Sequence[serialization.RowKey],
        contexts: Sequence[Float16 | None],
    ) -> None:
        """Add context tokens (k, E) to rows of this transaction."""
        pairs = [
            (key, context)
            for key, context in zip(keys, contexts, strict=True)
            if context is not None
        ]
        tokens = np.stack([context for _, context in pairs])
        shape = f"{tokens.shape[1]} {tokens.shape[2]}"
        others = self.meta().get("context_shape")
        if others is None:
            self.set_meta({"context_shape": shape})
        elif others != shape:
            raise LibraryError(
                f"library {self.address} keeps contexts of shape {others}, the model gave {shape}; "
                "index the videos into a new library, or without contexts (--no-context)"
            )
        record, places = self.get(video_id), self.places[video_id]
        for (key, _), token in zip(pairs, tokens, strict=True):
            self.now.write_blobs(serialization.context_entities(places[key], record.version, token))
        size = record.context_bytes + tokens.astype(np.float16).nbytes
        self.change(replace(record, contexts=record.contexts + len(pairs), context_bytes=size))

    # Annotations --------------------------------------------------------------------------------

    def annotate(self, kind: type[A], owner: int | str, annotations: Iterable[A]) -> None:
        if isinstance(owner, str):
            failed = [
                annotation for annotation in annotations if isinstance(annotation, FailedFile)
            ]
            self._annotate_path(owner, failed)
            return
        record, rows = self.get(owner), list(annotations)
        if kind in (RecordingLabels, KeptFrames):
            if rows:
                what = "labels of spans" if kind is RecordingLabels else "frames"
                raise LibraryError(
                    f"library {self.address} keeps no {what}; use a library that is a folder"
                )
            return
        if kind is Caption:
            captions = [annotation for annotation in rows if isinstance(annotation, Caption)]
            entities = serialization.caption_entities(record.version, captions)
            record = replace(record, captioned=bool(entities))
        else:
            lost = [annotation for annotation in rows if isinstance(annotation, LostFrames)]
            entities = serialization.lost_entities(record.version, lost)
            record = replace(record, has_lost=bool(entities))
        self.now.write_blobs(entities)
        self.change(record)

    def _annotate_path(self, path: str, failed: Sequence[FailedFile]) -> None:
        """Keep the failure of a path, or drop it."""
        if failed:
            self.now.records[failed_key(path)] = failed_record(failed[0])
            self._failed_paths().add(path)
        elif path in self._failed_paths():
            self.now.dropped.append(failed_key(path))
            self._failed_paths().discard(path)

    def _failed_paths(self) -> set[str]:
        if self._broken is None:
            self._broken = {annotation.path for annotation in self.annotations(FailedFile)}
        return self._broken

    def _require_width(self, dim: int) -> None:
        """The collection of rows with vectors of a width; made with the first row."""
        if self.width == dim:
            return
        if self.width is not None and self.catalog().all():
            raise LibraryError(
                f"library {self.address} keeps vectors of width {self.width}, the model gave "
                f"{dim}; index the videos into a new library"
            )
        if self.width is not None:
            self.connection.drop(self.connection.rows)  # of a first recording that was rolled back
        create_rows(self.connection, self.connection.rows, dim)
        self.width, self.has_row_collection = dim, True

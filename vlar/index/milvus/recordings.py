"""Transactions, the manifest and the recordings of a library in Milvus, for its writer."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from vlar.errors import LibraryError
from vlar.index.milvus import stored
from vlar.index.milvus.client import MilvusConnection
from vlar.index.milvus.layout import META_KEY, Layout, record, width_of
from vlar.index.milvus.lease import WriterLease
from vlar.index.milvus.lookup import Lookup
from vlar.index.milvus.recording import Recording
from vlar.index.milvus.state import View
from vlar.index.milvus.store import MilvusStore
from vlar.index.milvus.transaction import Transaction, recover
from vlar.index.paths import is_unicode, matches, place
from vlar.index.store.values import KnownVideo, Stamp


class RecordingWriter(MilvusStore):
    """Transactions, the manifest and recordings. Its maker holds the lease.

    Args:
        connection: To Milvus.
        layout: Of the library.
        library_id: Of the library.
        lease: That is held.
    """

    def __init__(
        self, connection: MilvusConnection, layout: Layout, library_id: str, lease: WriterLease
    ) -> None:
        self.width: int | None = width_of(connection, layout)
        super().__init__(connection, layout, library_id, self.width is not None)
        self._lease = lease
        self._state = recover(connection, layout)
        self._running: Transaction | None = None
        self.places: dict[int, dict[stored.RowKey, int]] = {}
        self._lookup: Lookup | None = None

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """Writes inside are kept recording by recording: each whole or not at all."""
        running = Transaction(self.connection, self.layout, self._lease, self._state)
        self._running = running
        self._catalog = None
        try:
            yield
            running.check()
            self._state = running.commit()
        except BaseException:
            self._lookup = None
            with suppress(LibraryError):  # else the next writer does it
                self._state = running.roll_back()
            raise
        finally:
            self._running = None
            self.places.clear()
            self._catalog = None

    def _read_view(self) -> View:
        """The state before the running transaction: nobody else changes it."""
        state = self._state
        return View(state.generation, state.next_version, removals=state.removals)

    def _changed(self) -> Mapping[int, Recording | None]:
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

    def get(self, video_id: int) -> Recording:
        """A recording as the running transaction has it."""
        found = self.catalog().get(video_id)
        if found is None:
            raise LibraryError(f"library {self.address} has no recording {video_id}")
        return found

    def change(self, recording: Recording) -> None:
        """Replace a recording; only a new version replaces another one."""
        if recording.id not in self.now.changed:
            recording = replace(recording, replaces=0)
        self._put(recording)

    def _put(self, recording: Recording) -> None:
        self.now.put(recording)
        self._known().put(recording)

    def _drop(self, recording: Recording) -> None:
        self.now.drop(recording)
        self._known().drop(recording.id)

    def _known(self) -> Lookup:
        if self._lookup is None:
            self._lookup = Lookup(self.connection, self.layout)
        return self._lookup

    def _at_path(self, path: str) -> Recording | None:
        video_id = self._known().at_path(path)
        found = None if video_id is None else self.catalog().get(video_id)
        return found if found is not None and found.path == path else None

    def at_path(self, path: str) -> KnownVideo | None:
        """The recording of a path."""
        found = self._at_path(path)
        return None if found is None else found.known

    def row_of(self, path: str) -> int | None:
        """The id of the recording of a path."""
        found = self._at_path(path)
        return None if found is None else found.id

    def with_content(self, content_hash: str) -> list[KnownVideo]:
        """The recordings of one content, oldest first."""
        ids = self._known().with_content(content_hash)
        found = self.catalog().some(ids).values()
        return [each.known for each in found if each.content_hash == content_hash]

    # Manifest -----------------------------------------------------------------------------------

    def meta(self) -> dict[str, str]:
        """The manifest, with what the running transaction has changed."""
        return {**super().meta(), **({} if self._running is None else self._running.meta)}

    def set_meta(self, facts: Mapping[str, str]) -> None:
        """Add to the manifest or change it."""
        whole = {**self.meta(), **facts}
        self.now.records[META_KEY] = record(META_KEY, META_KEY, whole)
        self.now.meta = whole

    # Recordings ---------------------------------------------------------------------------------

    def matching(self, pattern: str | Path) -> list[int]:
        """Ids of the recordings of a path, a folder or a glob (``vlar.index.paths.matches``)."""
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
        """A recording without rows; what was at this path before loses its rows, not its tags."""
        now, old = self.now, self._at_path(path)
        video_id = now.new_video() if old is None else old.id
        replaces = 0
        if old is not None:
            replaces = old.replaces if old.id in now.changed else old.version
        self._put(
            Recording(
                video_id, now.new_version(), path, content_hash, stamp.size, stamp.mtime_ns,
                float(duration_s), time.time() if added_at_s is None else added_at_s,
                replaces=replaces,
                tags={} if old is None else old.tags,
            )
        )  # fmt: skip
        self.places[video_id] = {}
        return video_id

    def rename(self, video_id: int, path: str, stamp: Stamp) -> None:
        """Move a recording to a path; another one there is replaced."""
        other = self._at_path(path)
        if other is not None and other.id != video_id:
            self._drop(other)
        moved = replace(self.get(video_id), path=path, size=stamp.size, mtime_ns=stamp.mtime_ns)
        self.change(moved)

    def restamp(self, video_id: int, stamp: Stamp) -> None:
        """Remember the size and time of a file whose content is unchanged."""
        own = self.get(video_id)
        self.change(replace(own, size=stamp.size, mtime_ns=stamp.mtime_ns))

    def set_unreadable(self, video_id: int, windows: int) -> None:
        """Remember how many windows of a recording could not be decoded."""
        self.change(replace(self.get(video_id), unreadable=windows))

    def set_tags(self, video_id: int, tags: Mapping[str, str]) -> None:
        """Add tags to a recording; a key it has already gets the new value."""
        own = self.get(video_id)
        if not tags.items() <= own.tags.items():
            self.change(replace(own, tags={**own.tags, **tags}))

    def duration_s(self, video_id: int) -> float:
        """Length of a recording in seconds."""
        return self.get(video_id).duration_s

    def delete(self, video_ids: Sequence[int]) -> None:
        """Forget recordings with their rows and tags."""
        for video_id in video_ids:
            self._drop(self.get(video_id))

    def read_again(self, video_id: int, content_hash: str) -> None:
        """Forget what a file's content was, so that the next ``add`` reads it."""
        own = self.get(video_id)
        self.change(replace(own, content_hash=content_hash, size=0, mtime_ns=0))

    def rows_deleted(self, video_id: int, count: int) -> None:
        """Remember that a recording has fewer rows."""
        own = self.get(video_id)
        self.change(replace(own, rows=max(own.rows - count, 0)))

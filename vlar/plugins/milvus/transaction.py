"""A transaction of a library in Milvus: rows first, then the records that make them valid.

The order of the steps is what makes it safe; a writer may be killed after any of them:

1. The state names the versions that may be written and the recordings that will go.
2. Rows, contexts, captions and lost frames are written. No recording names their version yet.
3. Records of recordings that go are deleted; records of new and changed ones are replaced, with
   the manifest. Each replacement is one entity, so each recording has its old rows or its new ones.
4. Rows of versions that no recording has any more are deleted.
5. The state is settled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vlar.errors import LibraryError
from vlar.plugins.milvus.client import MilvusConnection, listed
from vlar.plugins.milvus.layout import STATE_KEY
from vlar.plugins.milvus.lease import WriterLease
from vlar.plugins.milvus.recording_record import MOST_VERSIONS, RecordingRecord
from vlar.plugins.milvus.state import State, VisibleVersions, settled

_RESERVED = 4096  # versions that one step of a transaction may use
_BUFFERED_BYTES = 16 << 20
_BUFFERED = 4096
_VERSIONS_AT_ONCE = 4096


@dataclass
class Transaction:
    """The changes of one transaction, and how far they are written.

    Attributes:
        connection: To Milvus.
        lease: Lease of the writer.
        state: As Milvus has it.
        changed: Recordings by id; None for one that goes.
        records: Other records to replace, by key.
        dropped: Keys of other records to delete.
        meta: What of the manifest is new.
    """

    connection: MilvusConnection
    lease: WriterLease
    state: State
    changed: dict[int, RecordingRecord | None] = field(
        default_factory=dict[int, "RecordingRecord | None"]
    )
    records: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    dropped: list[str] = field(default_factory=list[str])
    meta: Mapping[str, str] = field(default_factory=dict[str, str])
    _stale: set[int] = field(default_factory=set[int])  # versions that go
    _deleting: dict[int, int] = field(default_factory=dict[int, int])
    _begin: int | None = None  # first version of this transaction
    _next_version: int = 0
    _next_video: int = 0
    _written: bool = False
    _rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    _blobs: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    _bytes: int = 0

    def __post_init__(self) -> None:
        """Counters go on from the state."""
        self._next_version, self._next_video = self.state.next_version, self.state.next_video

    def new_version(self) -> int:
        """A version that was never used.

        Raises:
            LibraryError: all are used up.
        """
        version = self._next_version
        if version >= MOST_VERSIONS:
            raise LibraryError(
                f"library {self.connection.address} has used up its {MOST_VERSIONS} versions of "
                "recordings; copy it: vlar index copy FROM TO"
            )
        self._next_version += 1
        return version

    def new_video(self) -> int:
        """A recording id that was never used."""
        self._next_video += 1
        return self._next_video - 1

    def put(self, recording: RecordingRecord) -> None:
        """Add or change a recording; a version that it had before goes."""
        before = self.changed.get(recording.id)
        self.changed[recording.id] = recording
        self._stale |= {version for version in (recording.replaces,) if version}
        if before is not None and before.version != recording.version:
            self._stale.add(before.version)

    def drop(self, recording: RecordingRecord) -> None:
        """Delete a recording with its rows."""
        self.changed[recording.id] = None
        self._deleting[recording.id] = recording.version
        self._stale.add(recording.version)

    def write_rows(self, entities: Sequence[Mapping[str, Any]], row_bytes: int) -> None:
        """Add rows; they are written when enough wait."""
        self._rows += map(dict, entities)
        self._bytes += row_bytes * len(entities)
        self._write_if_full()

    def write_blobs(self, entities: Sequence[Mapping[str, Any]]) -> None:
        """Add contexts, captions or lost frames."""
        self._blobs += map(dict, entities)
        self._bytes += sum(len(entity["data"]) for entity in entities)
        self._write_if_full()

    def commit(self) -> State:
        """Steps 1 to 5; returns the new state."""
        if not (self.changed or self.records or self.dropped or self._rows or self._written):
            return self.state
        self._announce()
        self._write()
        self.lease.require()
        deleted = [f"v{video_id}" for video_id in self._deleting]
        self.connection.delete(self.connection.records, deleted + self.dropped)
        replaced = [record.to_record() for record in self.changed.values() if record is not None]
        self.connection.upsert(self.connection.records, replaced + list(self.records.values()))
        drop_versions(self.connection, sorted(self._stale))
        return self._settle(bool(self._stale))

    def check(self) -> None:
        """Refuse what Milvus cannot keep, before anything is written.

        Raises:
            LibraryError: a record is too long.
        """
        for record in self.changed.values():
            if record is not None:
                record.to_record()

    def roll_back(self) -> State:
        """Delete what was written and is not committed; returns the state.

        Raises:
            LibraryLockedError: another writer has the lease, and has done it.
        """
        if not self._written:
            return self.state
        self.lease.require()
        return recover(self.connection)

    # Inside -------------------------------------------------------------------------------------

    def _write_if_full(self) -> None:
        if self._bytes >= _BUFFERED_BYTES or len(self._rows) >= _BUFFERED:
            self._announce()
            self._write()

    def _announce(self) -> None:
        """Step 1; again where more versions or recordings came up since."""
        first = self.state.next_version if self._begin is None else self._begin
        self._begin = first
        end = self.state.open[1] if self.state.open else first
        going = tuple(self._deleting.items())
        if self._written and self._next_version <= end and going == self.state.deleting:
            return
        self.lease.require()
        self.state = replace(
            self.state,
            generation=self.state.generation + 1,
            removals=self.state.removals + bool(self._stale),
            open=(first, self._next_version + _RESERVED),
            deleting=going,
        )
        self._written = True
        self.state.write(self.connection)

    def _write(self) -> None:
        """Step 2: rows and blobs of this version."""
        self.connection.upsert(self.connection.rows, self._rows)
        self.connection.upsert(self.connection.blobs, self._blobs)
        self._rows, self._blobs, self._bytes = [], [], 0

    def _settle(self, removed: bool) -> State:
        """Step 5: the state without what was deleted."""
        counted = replace(self.state, next_version=self._next_version, next_video=self._next_video)
        done = settled(counted, removed=removed)
        done.write(self.connection)
        return done


def recover(connection: MilvusConnection) -> State:
    """The state after what a writer left that was ended in a transaction is deleted."""
    state = State.read(connection)
    if not state.busy:
        if not connection.get(connection.records, [STATE_KEY], ["key"]):
            state.write(connection)
        return state
    view = VisibleVersions.of(state, connection, connection.rows)
    has_rows = connection.rows in connection.collections()
    for name in (connection.rows, connection.blobs) if has_rows else (connection.blobs,):
        if state.open is not None:
            first, end = state.open
            where = f"version >= {first} and version < {end}"
            if view.also:
                where += f" and version not in {listed(view.also)}"
            connection.delete_where(name, where)
    drop_versions(connection, sorted(view.hidden), rows=has_rows)
    if state.open is not None:
        moved = state.next_video + state.open[1] - state.open[0]
        state = replace(state, next_version=state.open[1], next_video=moved)
    done = settled(state, removed=True)
    done.write(connection)
    return done


def drop_versions(
    connection: MilvusConnection,
    versions: Sequence[int],
    *,
    rows: bool = True,
) -> None:
    """Delete the rows of versions, and what belongs to these rows."""
    for start in range(0, len(versions), _VERSIONS_AT_ONCE):
        where = f"version in {listed(versions[start : start + _VERSIONS_AT_ONCE])}"
        if rows:
            connection.delete_where(connection.rows, where)
        connection.delete_where(connection.blobs, where)

"""The state of a library in Milvus: the running transaction and the rows visible to a reader.

One record. Before a transaction writes its first row, it puts the versions that it may use into
``open``, and the recordings that it will delete into ``deleting``. At the end both are empty
again. A reader that finds them filled looks at the recordings of these versions: those that have
their record are committed, all other rows of the range are not there for it. So a writer that was
killed at any moment leaves nothing that shows, and the next writer deletes what it left.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vlar.errors import LibraryError
from vlar.plugins.milvus.client import MilvusConnection, listed
from vlar.plugins.milvus.layout import STATE_KEY, record
from vlar.plugins.milvus.recording_record import KIND, RecordingRecord

_volatile = itertools.count(1)


@dataclass(frozen=True)
class State:
    """Contents of the record.

    Attributes:
        generation: Counts changes.
        removals: Counts changes that remove rows.
        next_version: The first version that was never used.
        next_video: The first recording id that was never used.
        open: First version of a running transaction and the one after its last; None without one.
        deleting: Recordings that a running transaction deletes: id and version.
    """

    generation: int = 0
    removals: int = 0
    next_version: int = 1
    next_video: int = 1
    open: tuple[int, int] | None = None
    deleting: tuple[tuple[int, int], ...] = ()

    @classmethod
    def read(cls, connection: MilvusConnection) -> State:
        """The present state.

        Raises:
            LibraryError: the record is not one that vlar writes.
        """
        return cls.of(connection.get(connection.records, [STATE_KEY], ["doc"]), connection)

    @classmethod
    def of(cls, entities: Sequence[Mapping[str, Any]], connection: MilvusConnection) -> State:
        """The state of its entity, if it is there (``read``)."""
        if not entities:
            return cls()
        try:
            facts: dict[str, Any] = json.loads(entities[0]["doc"])
            begin = facts.pop("open")
            deleting = tuple((int(i), int(v)) for i, v in facts.pop("deleting"))
            return cls(**facts, open=None if begin is None else (*begin,), deleting=deleting)
        except (ValueError, TypeError, KeyError) as error:
            raise LibraryError(
                f"library {connection.address} is damaged (its state {entities[0]['doc']!r:.80}); "
                "copy it from its source again under another name"
            ) from error

    def write(self, connection: MilvusConnection) -> None:
        """Replace the record."""
        facts = {
            "generation": self.generation,
            "removals": self.removals,
            "open": self.open,
            "next_version": self.next_version,
            "next_video": self.next_video,
            "deleting": self.deleting,
        }
        connection.upsert(connection.records, [record(STATE_KEY, "state", facts)])

    @property
    def busy(self) -> bool:
        """Return whether a transaction is running, or was when its writer ended."""
        return self.open is not None or bool(self.deleting)


@dataclass(frozen=True)
class VisibleVersions:
    """Versions of rows that a reader may read.

    Attributes:
        number: Number that differs for every state; negative and used once while a transaction
            runs.
        before: Versions below it are settled.
        also: Versions of the running transaction that are committed.
        hidden: Versions whose rows may be there, and which no recording has any more.
        removals: Number of removals of the state.
        rows: Collection of the rows.
    """

    number: int
    before: int
    also: frozenset[int] = frozenset()
    hidden: frozenset[int] = frozenset()
    removals: int = 0
    rows: str = ""

    @classmethod
    def of(cls, state: State, connection: MilvusConnection, rows: str) -> VisibleVersions:
        """The view of a state, whose rows are in a collection."""
        if not state.busy:
            return cls(state.generation, state.next_version, removals=state.removals, rows=rows)
        first = state.next_version if state.open is None else state.open[0]
        committed = committed_since(connection, first)
        hidden = {record.replaces for record in committed if record.replaces}
        remaining = _versions(connection, [video_id for video_id, _ in state.deleting])
        hidden |= {v for video_id, v in state.deleting if remaining.get(video_id) != v}
        also = frozenset(record.version for record in committed)
        return cls(-next(_volatile), first, also, frozenset(hidden), state.removals, rows)

    def sees(self, version: int) -> bool:
        """Return whether rows of a version are visible by the state."""
        return (version < self.before or version in self.also) and version not in self.hidden

    @property
    def filter(self) -> str:
        """The same for Milvus."""
        text = f"version < {self.before}"
        if self.also:
            text = f"({text} or version in {listed(self.also)})"
        if self.hidden:
            text += f" and version not in {listed(self.hidden)}"
        return text

    def lost_rows(self, later: VisibleVersions) -> bool:
        """Return whether rows of this view may be gone in a later one."""
        moved = later.removals != self.removals or later.rows != self.rows
        return moved or not later.hidden <= self.hidden


def committed_since(connection: MilvusConnection, first: int) -> list[RecordingRecord]:
    """The recordings whose version is a given one or later."""
    where = f'kind == "{KIND}" and version >= {first}'
    pages = connection.pages(connection.records, where, ["video_id", "version", "doc"], 1024)
    return [
        RecordingRecord.of(record, str(connection.address)) for page in pages for record in page
    ]


def _versions(connection: MilvusConnection, video_ids: list[int]) -> dict[int, int]:
    if not video_ids:
        return {}
    entities = connection.get(
        connection.records, [f"v{i}" for i in video_ids], ["video_id", "version"]
    )
    return {int(entity["video_id"]): int(entity["version"]) for entity in entities}


def settled(state: State, *, removed: bool) -> State:
    """The state after a transaction."""
    return replace(
        state,
        generation=state.generation + 1,
        removals=state.removals + removed,
        open=None,
        deleting=(),
    )

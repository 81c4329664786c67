"""Annotations: facts that are kept of windows and files besides vectors and tags.

A ``Caption``, ``LostFrames``, ``KeptFrames`` and ``RecordingLabels`` belong to a recording, whose
rows may be encoded again by another model: they stay. A ``FailedFile`` belongs to a path. Only
crashes and exhausted time or memory are kept: a file that is merely broken is read again at every
``add``, which takes little, and succeeds once it is repaired or vlar reads more.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, cast

from vlar.errors import DecodeCrash, DecodeOutOfMemory, DecodeTimeout
from vlar.formatting import without
from vlar.library.store.values import Stamp
from vlar.types import Failure

KEPT_KINDS = frozenset({DecodeCrash.kind, DecodeTimeout.kind, DecodeOutOfMemory.kind})
"""Kinds of failures that are remembered."""
MOST_CHARACTERS = 4_000  # of a caption


class Caption(NamedTuple):
    """Text that a captioner wrote about a window; an empty one: the window was looked at."""

    start_s: float
    end_s: float
    text: str
    made_by: str


class LostFrames(NamedTuple):
    """Share of the frames of a window, above 0 and up to 1, that a damaged file lost."""

    start_s: float
    end_s: float
    share: float


class KeptFrames(NamedTuple):
    """Small frames of a window in one WebP picture, and more (``vlar.library.records``)."""

    start_s: float
    end_s: float
    picture: bytes


@dataclass(frozen=True)
class FailedFile:
    """A file that is not to be read again as it is."""

    path: str
    content_hash: str
    stamp: Stamp
    kind: str
    message: str


class RecordingLabels(NamedTuple):
    """Labels that people gave to spans of a recording, in one text (``vlar.library.labels``)."""

    version: int
    changed_s: float
    text: str


Annotation: TypeAlias = Caption | LostFrames | KeptFrames | FailedFile | RecordingLabels
A = TypeVar("A", bound=Annotation)


def is_kept(failure: Failure) -> bool:
    """Return whether a failure is one to remember."""
    return failure.kind in KEPT_KINDS


class Tables(Protocol):
    """A connection as this module needs it."""

    connection: sqlite3.Connection

    def fetch(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of an SQL query."""
        ...

    def fetch_in(self, query: str, ids: Sequence[int]) -> list[tuple[Any, ...]]:
        """All rows of an SQL query that ends in ``IN``."""
        ...


@dataclass(frozen=True)
class _LabelTable:
    """The table of one kind: the columns of an annotation, of its owner, and those of its key."""

    name: str
    owner: str
    columns: tuple[str, ...]
    order: str
    made: str


def _of_windows(name: str, types: Mapping[str, str], tail: str = " WITHOUT ROWID") -> _LabelTable:
    """The table of a kind with one annotation a window: further columns and their types."""
    further = "".join(f"    {column} {kind} NOT NULL,\n" for column, kind in types.items())
    made = f"""CREATE TABLE IF NOT EXISTS {name} (
    video_id INTEGER NOT NULL,
    start_s REAL NOT NULL,
    end_s REAL NOT NULL,
{further}    PRIMARY KEY (video_id, start_s, end_s)
){tail}"""
    return _LabelTable(name, "video_id", ("start_s", "end_s", *types), "start_s, end_s", made)


_TABLES: Mapping[type[Annotation], _LabelTable] = {
    Caption: _of_windows("captions", {"text": "TEXT", "made_by": "TEXT"}),
    LostFrames: _of_windows("lost_frames", {"share": "REAL"}),
    KeptFrames: _of_windows("kept_frames", {"picture": "BLOB"}, ""),
    RecordingLabels: _LabelTable(
        "labels",
        "video_id",
        RecordingLabels._fields,
        "version",
        """CREATE TABLE IF NOT EXISTS labels (
    video_id INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    changed_s REAL NOT NULL,
    text TEXT NOT NULL
)""",
    ),
    FailedFile: _LabelTable(
        "failed_files",
        "path",
        ("path", "content_hash", "size", "mtime_ns", "kind", "message"),
        "path",
        """CREATE TABLE IF NOT EXISTS failed_files (
    path TEXT PRIMARY KEY,
    content_hash TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    failed_at_s REAL NOT NULL
) WITHOUT ROWID""",
    ),
}


def read(store: Tables, kind: type[A], owners: Sequence[int | str] | None) -> list[A]:
    """The annotations of one kind, of all owners or of some, in the order of time or path."""
    if not _exists(store, kind):
        return []
    table = _TABLES[kind]
    query, order = (
        f"SELECT {', '.join(table.columns)} FROM {table.name}",
        f" ORDER BY {table.order}",
    )
    if owners is None:
        rows = store.fetch(query + order)
    else:
        query_of_owner = f"{query} WHERE {table.owner} = ?{order}"
        rows = [row for owner in owners for row in store.fetch(query_of_owner, (owner,))]
    annotations = (_made(kind, row) for row in rows)
    return cast("list[A]", [annotation for annotation in annotations if annotation is not None])


def owners(store: Tables, kind: type[Annotation]) -> set[int]:
    """Ids of the recordings that have annotations of a kind."""
    if not _exists(store, kind):
        return set()
    table = _TABLES[kind]
    return {owner for (owner,) in store.fetch(f"SELECT DISTINCT {table.owner} FROM {table.name}")}


def write(store: Tables, kind: type[A], owner: int | str, annotations: Iterable[A]) -> None:
    """Keep annotations in place of the owner's earlier ones, inside a transaction."""
    rows = [row for annotation in annotations if (row := _row(owner, annotation)) is not None]
    forget(store, kind, [owner])
    if rows:
        table = _TABLES[kind]
        store.connection.execute(table.made)
        marks = ",".join("?" * len(rows[0]))
        insert = f"INSERT OR REPLACE INTO {table.name} VALUES ({marks})"
        store.connection.executemany(insert, rows)


def forget(store: Tables, kind: type[Annotation], owners: Iterable[int | str]) -> None:
    """Delete the annotations of owners, inside a transaction."""
    if _exists(store, kind):
        table = _TABLES[kind]
        delete = f"DELETE FROM {table.name} WHERE {table.owner} = ?"
        store.connection.executemany(delete, [(owner,) for owner in owners])


def captions_by_row(store: Tables, row_ids: Sequence[int] | None) -> dict[int, str]:
    """Captions by row id, of all rows or of some, without what acts on a terminal."""
    if not _exists(store, Caption):
        return {}
    query = (
        "SELECT rows.id, captions.text FROM rows JOIN captions ON captions.video_id = "
        "rows.video_id AND captions.start_s = rows.start_s AND captions.end_s = rows.end_s"
    )
    rows = (
        store.fetch(query)
        if row_ids is None
        else store.fetch_in(f"{query} WHERE rows.id IN", row_ids)
    )
    return {
        row_id: shown
        for row_id, text in rows
        if isinstance(row_id, int) and (shown := printable(text))
    }


def printable(text: object) -> str:
    """A caption without what acts on a terminal; empty where it is not one."""
    return without(text[:MOST_CHARACTERS]) if isinstance(text, str) and text.strip() else ""


def _exists(store: Tables, kind: type[Annotation]) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return bool(store.fetch(query, (_TABLES[kind].name,)))


def _made(kind: type[Annotation], row: tuple[Any, ...]) -> Annotation | None:
    """An annotation of a row; None where its values cannot be, as in a library of anybody."""
    if kind is FailedFile:
        path, content_hash, size, mtime_ns, name, message = row
        stamp = Stamp(size, mtime_ns)
        return FailedFile(str(path), content_hash, stamp, str(name), str(message))
    if kind is Caption:
        return Caption(*row) if isinstance(row[2], str) else None
    if kind in (RecordingLabels, KeptFrames):
        types = (int, float, str) if kind is RecordingLabels else (float, float, bytes)
        is_sound = [isinstance(*pair) for pair in zip(row, types, strict=True)]
        return kind(*row) if all(is_sound) else None
    return LostFrames(*row) if all(isinstance(value, float) for value in row) else None


def _row(owner: int | str, annotation: Annotation) -> tuple[Any, ...] | None:
    """The columns of an annotation; None for one that is not kept."""
    if isinstance(annotation, Caption):
        start_s, end_s, text, made_by = annotation
        return owner, start_s, end_s, text[:MOST_CHARACTERS], made_by
    if isinstance(annotation, LostFrames):
        return (owner, *annotation) if annotation.share > 0 else None
    if isinstance(annotation, RecordingLabels | KeptFrames):
        return (owner, *annotation)
    stamp = annotation.stamp
    facts = annotation.path, annotation.content_hash, stamp.size, stamp.mtime_ns
    return *facts, annotation.kind, annotation.message, time.time()

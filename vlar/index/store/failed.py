"""Files whose reading crashed or ran out of time or memory: the next ``add`` names and skips them.

Only such failures are kept. A file that is merely broken is read again at every ``add``, which
takes little, and succeeds once it is repaired or vlar reads more. The table is made when there is
something to remember, so libraries of any format can have it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from vlar.errors import DecodeCrash, DecodeOutOfMemory, DecodeTimeout
from vlar.index.store.database import Stamp, Store
from vlar.index.store.writer import StoreWriter
from vlar.types import Failure

KEPT_KINDS = frozenset({DecodeCrash.kind, DecodeTimeout.kind, DecodeOutOfMemory.kind})
"""Kinds of failures that are remembered."""

_TABLE = """CREATE TABLE IF NOT EXISTS failed_files (
    path TEXT PRIMARY KEY,
    content_hash TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    failed_at_s REAL NOT NULL
) WITHOUT ROWID"""
_EXISTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'failed_files'"


@dataclass(frozen=True)
class FailedFile:
    """A file that is not to be read again as it is."""

    path: str
    content_hash: str
    stamp: Stamp
    kind: str
    message: str


@dataclass(frozen=True)
class FailedFiles:
    """What earlier runs could not read.

    Attributes:
        by_path: The files by path.
        retry: Read them again.
    """

    by_path: Mapping[str, FailedFile] = field(default_factory=dict[str, FailedFile])
    retry: bool = False

    def to_skip(self, path: str, stamp: Stamp) -> FailedFile | None:
        """The failure of a file that has not changed since; None where it is to be read."""
        found = None if self.retry else self.by_path.get(path)
        return found if found is not None and found.stamp == stamp else None

    def with_content(self, content_hash: str) -> FailedFile | None:
        """The failure of a file with this content, wherever it lies."""
        if self.retry:
            return None
        failed = self.by_path.values()
        return next((each for each in failed if each.content_hash == content_hash), None)

    def is_retried(self, path: str, content_hash: str = "") -> bool:
        """Whether a file is read again although the library has its content."""
        if not self.retry:
            return False
        failed = self.by_path.values()
        return path in self.by_path or any(each.content_hash == content_hash for each in failed)


def failed_files(store: Store) -> dict[str, FailedFile]:
    """Those of a library, by path."""
    if not store.fetch(_EXISTS):
        return {}
    rows = store.fetch("SELECT path, content_hash, size, mtime_ns, kind, message FROM failed_files")
    found = (FailedFile(str(r[0]), r[1], Stamp(r[2], r[3]), str(r[4]), str(r[5])) for r in rows)
    return {each.path: each for each in found}


def remember(writer: StoreWriter, failed: FailedFile) -> None:
    """Keep a failure, inside a transaction of the caller's."""
    writer.connection.execute(_TABLE)
    writer.connection.execute(
        "INSERT OR REPLACE INTO failed_files VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            *(failed.path, failed.content_hash, failed.stamp.size, failed.stamp.mtime_ns),
            *(failed.kind, failed.message, time.time()),
        ),
    )


def forget(writer: StoreWriter, path: str) -> None:
    """Drop what is known of a path, inside a transaction of the caller's."""
    if writer.fetch(_EXISTS):
        writer.connection.execute("DELETE FROM failed_files WHERE path = ?", (path,))


def is_kept(failure: Failure) -> bool:
    """Whether a failure is one to remember."""
    return failure.kind in KEPT_KINDS

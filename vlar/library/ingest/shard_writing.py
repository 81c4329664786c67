"""An ``add`` into shards: the same stream as ``write_windows`` takes, into Parquet files.

A shard is written under a temporary name and renamed when it is whole, after some thousand rows or
a minute. Whatever ends the run, the shards that have their names are whole, and the same call
writes what is missing.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import UsageError, explained
from vlar.library.ingest.encode import EncodedWindow
from vlar.library.ingest.writer import AddCounts, IngestProgress, by_file
from vlar.library.manifest import LibraryManifest
from vlar.library.recording import CHANGED, SKIPPED, UNCHANGED, FileRecord
from vlar.library.rows import AddReport
from vlar.library.store.annotations import FailedFile, is_kept
from vlar.library.store.row_check import STORED
from vlar.library.store.values import KnownVideo, Stamp
from vlar.results import arrow, arrow_schema
from vlar.types import Failure

VERSION = "1"
WINDOW, UNREADABLE, FAILED = "window", "unreadable", "failed"
"""Kinds of rows: an encoded window, one that cannot be read, a recording that ends its reader."""

REQUIRED = ("path", "start_s", "end_s", "vector")
"""Columns that a file of other programs needs."""

KNOWN_COLUMNS = ("path", "content_hash", "size", "mtime_ns", "kind", "error_kind", "error")


PART = ".part"
"""Ending of a shard that is being written."""


_COLUMNS = (
    *("path", "kind", "content_hash", "size", "mtime_ns", "duration_s", "start_s", "end_s"),
    *("vector", "track", "box", "lost", "caption", "context", "context_tokens", "tags"),
    *("error_kind", "error"),
)


def schema(manifest: LibraryManifest, captioner: str) -> Any:
    """The schema of ``pyarrow``, with the facts of a library."""
    facts = {"vlar.shard": VERSION, **manifest.table_facts(), "vlar.captioner": captioner}
    return arrow_schema(_COLUMNS, dim=manifest.dim, facts=facts)


def facts_of(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """The facts of vlar in the metadata of a file, without their prefix."""
    prefix = b"vlar."
    return {
        key.removeprefix(prefix).decode(errors="replace"): value.decode(errors="replace")
        for key, value in (metadata or {}).items()
        if key.startswith(prefix)
    }


_NAME = re.compile(r"shard-(\d+)-\w+\.parquet")
_ROWS, _SECONDS = 4096, 60.0  # after which a shard is closed


@dataclass
class ShardFolder:
    """A folder of shards, into which one run at a time writes.

    Args:
        path: The folder, which is made where it is absent. What an ended run left of a shard is
            removed.

    Raises:
        UsageError: it cannot be made.
    """

    path: Path

    def __post_init__(self) -> None:
        arrow()
        with _written(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for part_file in self.path.glob(f".shard-*{PART}"):
                part_file.unlink()

    def shards(self) -> list[Path]:
        """Complete shards, in the order in which they were written."""
        return sorted(file for file in self.path.iterdir() if file.suffix == ".parquet")

    def known(self) -> tuple[dict[str, KnownVideo], dict[str, FailedFile]]:
        """The recordings of its shards, and those that failed; the last shard counts.

        Raises:
            UsageError: a file in the folder is not a shard.
        """
        from pyarrow import ArrowException, parquet

        videos: dict[str, KnownVideo] = {}
        failed: dict[str, FailedFile] = {}
        for shard in self.shards():
            try:
                table = parquet.read_table(shard, columns=list(KNOWN_COLUMNS))
                columns = [table.column(name).to_pylist() for name in KNOWN_COLUMNS]
            except (ArrowException, OSError, KeyError) as error:
                raise UsageError(
                    f"{shard}: is not a whole shard ({error!s:.200}); move it out of the folder"
                ) from error
            for path, digest, size, mtime_ns, kind, error_kind, error in zip(*columns, strict=True):
                stamp = Stamp(size, mtime_ns)
                videos.pop(path, None)
                failed.pop(path, None)
                if kind == FAILED:
                    failed[path] = FailedFile(path, digest, stamp, error_kind, error)
                else:
                    videos[path] = KnownVideo(0, path, digest, stamp)
        return videos, failed

    def next_name(self) -> str:
        """A name that sorts behind all others."""
        matches = (_NAME.fullmatch(file.name) for file in self.path.iterdir())
        last = max((int(match[1]) for match in matches if match), default=0)
        return f"shard-{last + 1:08}-{secrets.token_hex(4)}.parquet"


@dataclass
class ShardWriter:
    """Collects rows and writes them as shards."""

    folder: ShardFolder
    manifest: LibraryManifest
    captioner: str
    _rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    _since_s: float = field(default_factory=time.monotonic)

    def put(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add the rows of one recording."""
        if not self._rows:
            self._since_s = time.monotonic()
        self._rows += rows
        if len(self._rows) >= _ROWS or time.monotonic() - self._since_s >= _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was collected as one shard.

        Raises:
            UsageError: the folder cannot be written to.
        """
        if not self._rows:
            return
        pa = arrow()
        from pyarrow import parquet

        target = self.folder.path / self.folder.next_name()
        part = target.with_name(f".{target.name}{PART}")
        columns = schema(self.manifest, self.captioner)
        with _written(self.folder.path):
            table = pa.Table.from_pylist(self._rows, schema=columns)
            parquet.write_table(table, part, compression="zstd", write_page_checksum=True)
            part.replace(target)
        self._rows = []


def write_shards(
    folder: ShardFolder,
    known: Mapping[str, KnownVideo],
    stream: Iterable[FileRecord | EncodedWindow | Failure],
    manifest: LibraryManifest,
    *,
    total: int,
    before: int,
    tags: Mapping[str, str],
    captioner: str,
    progress: IngestProgress | None,
) -> AddReport:
    """Write recordings to shards, as ``write_windows`` does to a library, with the same arguments.

    ``known`` has what the library and the shards hold already, by path; ``progress`` is called
    for each recording, before its shard is whole.

    Raises:
        UsageError: the folder cannot be written to.
    """
    writer, counts = ShardWriter(folder, manifest, captioner), AddCounts(total, progress)
    counts.begin(before)
    try:
        for record, windows in by_file(stream):
            status, rows, failure = _rows_of(record, list(windows), tags, known)
            writer.put(rows)
            encoded = [row for row in rows if row["kind"] == WINDOW]
            counts.person_rows += sum(row["track"] is not None for row in encoded)
            seconds = record.duration_s
            counts.add(status, record.file, len(encoded), failure, seconds=seconds)
    finally:
        writer.flush()
    return counts.report()


def _rows_of(
    record: FileRecord,
    items: Sequence[EncodedWindow | Failure],
    tags: Mapping[str, str],
    known: Mapping[str, KnownVideo],
) -> tuple[str, list[dict[str, Any]], Failure | None]:
    """Status of a recording, its rows, and its failure."""
    if record.state == UNCHANGED:
        return "unchanged", [], None
    if record.state == SKIPPED:
        return "failed", [], record.failure
    facts = _facts(record, {**tags, **record.tags})
    encoded = [item for item in items if isinstance(item, EncodedWindow)]
    lost = [item for item in items if isinstance(item, Failure)]
    if record.state != CHANGED or not encoded:
        nothing = Failure(record.file, "decode", f"{record.path}: has no windows")
        failure = record.failure or (lost[0] if lost else nothing)
        told = {"error_kind": failure.kind, "error": failure.message}
        is_stored = record.content_hash and is_kept(failure)
        return "failed", [{**facts, "kind": FAILED, **told}] if is_stored else [], failure
    rows = [{**facts, **row} for row in _windows(items)]
    failure = None
    if lost:
        message = f"{record.path}: {len(lost)} of {len(items)} windows cannot be read"
        failure = Failure(record.file, lost[0].kind, f"{message} ({lost[0].message})")
    return "updated" if record.path in known else "added", rows, failure


def _facts(record: FileRecord, tags: Mapping[str, str]) -> dict[str, Any]:
    return {
        "path": record.path,
        "content_hash": record.content_hash,
        "size": record.stamp.size,
        "mtime_ns": record.stamp.mtime_ns,
        "duration_s": record.duration_s,
        "tags": list(tags.items()),
        "track": None,
    }


def _windows(items: Iterable[EncodedWindow | Failure]) -> Iterator[dict[str, Any]]:
    for item in items:
        if isinstance(item, Failure):
            yield {"kind": UNREADABLE, "error_kind": item.kind, "error": item.message}
            continue
        person, context = item.person, item.context
        yield {
            "kind": WINDOW,
            "start_s": item.window.start_s,
            "end_s": item.window.end_s,
            "vector": item.vector.astype(np.float32),
            "track": None if person is None else person.track,
            "box": None if person is None else list(person.box),
            "lost": item.lost,
            "caption": item.caption,
            "context": None if context is None else context.astype(STORED).tobytes(),
            "context_tokens": None if context is None else len(context),
        }


def _written(folder: Path) -> AbstractContextManager[None]:
    return explained(
        UsageError, f"{folder}: shards cannot be written there", "choose another folder"
    )

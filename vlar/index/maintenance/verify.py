"""Check a library: every row, every file and the search cache; repair what can be repaired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vlar.errors import LibraryError, VlarError
from vlar.index.ingest.reader import stamp_of
from vlar.index.manifest import LibraryManifest
from vlar.index.search_cache import cache, cache_file
from vlar.index.store import schema
from vlar.index.store.database import NO_FILE, STORED, Store
from vlar.index.store.writer import StoreWriter
from vlar.types import JsonDict
from vlar.video import content_hash

_CHUNK = 2048
_NAMED = 5  # rows of one video that a message names


@dataclass(frozen=True)
class LibraryFault:
    """One fault of a library.

    Attributes:
        kind: ``database``, ``row`` (vectors that are damaged or invalid),
            ``context``, ``orphan`` (rows or tags of no video), ``empty`` (a video without rows),
            ``missing`` and ``changed`` (files; also one that is to be read again), ``cache``.
        path: The video, or the file of the library.
        message: The fault, and what to do.
        repaired: Whether ``repair`` removed it.
    """

    kind: str
    path: str
    message: str
    repaired: bool = False

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return asdict(self)


def verify(store: Store, files: bool = True) -> Iterator[LibraryFault]:
    """All faults of a library. Use inside ``store.snapshot()``.

    A cache that is absent or stale is not a fault: the next query updates it.

    Args:
        store: The library.
        files: Whether to check the video files too; one with another size or time is hashed.
    """
    damage = list(_database(store))
    yield from damage
    if damage:
        return  # what follows reads the same pages
    manifest = LibraryManifest.read(store.meta(), store.file.parent)
    if manifest is not None:
        yield from _rows(store, manifest.dim)
        yield from _contexts(store)
    yield from _orphans(store)
    if files:
        yield from _files(store)
    yield from _cache(store)


def repair(writer: StoreWriter, fault: LibraryFault) -> bool:
    """Repair a fault where that is possible; True where it is gone.

    A faulty cache is deleted (the next query builds it again), orphans are deleted, and a video
    with damaged rows is marked: the next ``vlar index add`` of its file reads it again.
    """
    if fault.kind == "cache":
        (writer.file.parent / cache_file.FILE_NAME).unlink(missing_ok=True)
        return True
    with writer.transaction():
        if fault.kind == "orphan":
            writer.delete_orphans()
            return True
        if fault.kind in ("row", "context", "empty") and Path(fault.path).exists():
            writer.read_again(fault.path)
    return False


def _database(store: Store) -> Iterator[LibraryFault]:
    advice = "restore a copy of the folder, or move it away and index the videos again"
    try:
        found = store.fetch("PRAGMA integrity_check")
    except LibraryError as error:
        yield LibraryFault("database", str(store.file), error.message)
        return
    for (result,) in found:
        if result != "ok":
            yield LibraryFault(
                "database", str(store.file), f"{store.file.name}: {result}; {advice}"
            )


def _rows(store: Store, dim: int) -> Iterator[LibraryFault]:
    query = (
        "SELECT id, video_id, start_s, end_s, vector, checksum FROM rows WHERE id > ? "
        "ORDER BY id LIMIT ?"
    )
    bad: dict[int, list[str]] = {}
    last = 0
    while found := store.fetch(query, (last, _CHUNK)):
        for row_id, video_id, start_s, end_s, blob, checksum in found:
            wrong = _wrong(start_s, end_s, blob, checksum, dim)
            if wrong:
                place = f"row {row_id} ({start_s:g} to {end_s:g} s: {wrong})"
                bad.setdefault(video_id, []).append(place)
        last = found[-1][0]
    paths = store.paths(sorted(bad))
    for video_id, places in bad.items():
        path = paths.get(video_id, f"video {video_id}")
        more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        message = f"{path}: {', '.join(places[:_NAMED])}{more}; {_again(store, path)}"
        yield LibraryFault("row", path, message)


def _again(store: Store, path: str) -> str:
    folder = store.file.parent
    return (
        f"read it again: vlar index verify {folder} --repair, then vlar index add {folder} {path}"
    )


def _wrong(start_s: float, end_s: float, blob: bytes, checksum: int | None, dim: int) -> str:
    if len(blob) != dim * STORED.itemsize:
        return f"{len(blob)} bytes, not {dim * STORED.itemsize}"
    if checksum is None:
        return "no checksum"
    if checksum != schema.row_checksum(start_s, end_s, blob):
        return "its bits have changed"
    return "" if np.isfinite(np.frombuffer(blob, STORED)).all() else "not a number"


def _contexts(store: Store) -> Iterator[LibraryFault]:
    query = (
        "SELECT row_id, tokens, contexts.checksum, coalesce(path, '') FROM contexts "
        "LEFT JOIN rows ON rows.id = row_id LEFT JOIN videos ON videos.id = video_id "
        "WHERE row_id > ? ORDER BY row_id LIMIT 64"
    )
    last = 0
    while found := store.fetch(query, (last,)):
        for row_id, blob, checksum, path in found:
            if checksum != schema.row_checksum(0, 0, blob):
                message = f"{path}: the context of row {row_id} has changed; {_again(store, path)}"
                yield LibraryFault("context", path, message)
        last = found[-1][0]


def _orphans(store: Store) -> Iterator[LibraryFault]:
    found = store.fetch("PRAGMA foreign_key_check")
    counts = {table: sum(row[0] == table for row in found) for table in {row[0] for row in found}}
    for table, count in sorted(counts.items()):
        message = f"{count} entries of {table} have no owner; --repair deletes them"
        yield LibraryFault("orphan", str(store.file), message)
    without = "SELECT path FROM videos WHERE id NOT IN (SELECT video_id FROM rows)"
    for (path,) in store.fetch(without):
        yield LibraryFault("empty", path, f"{path}: has no rows; {_again(store, path)}")


def _files(store: Store) -> Iterator[LibraryFault]:
    folder = store.file.parent
    for video in store.known():
        if video.stamp.size == NO_FILE.size:
            continue
        path = Path(video.path)
        try:
            changed = stamp_of(path) != video.stamp and content_hash(path) != video.content_hash
        except (OSError, VlarError):
            message = (
                f"{path}: the file is gone or cannot be read; bring it back, or run "
                f"vlar index remove {folder} {path}"
            )
            yield LibraryFault("missing", video.path, message)
            continue
        if changed:
            again = video.content_hash == schema.READ_AGAIN
            what = "is to be read again" if again else "has changed"
            message = f"{path}: the file {what}; run vlar index add {folder} {path}"
            yield LibraryFault("changed", video.path, message)


def _cache(store: Store) -> Iterator[LibraryFault]:
    file = store.file.with_name(cache_file.FILE_NAME)
    if not file.exists() or "dim" not in store.meta():
        return
    advice = "--repair builds it again, and so does the next query after it is deleted"
    found = cache.read(file)
    if found is None or not cache_file.is_whole(file, cache_file.read_header(file).facts):
        yield LibraryFault(
            "cache", str(file), f"{file.name} is cut, changed or not usable; {advice}"
        )
        return
    state, followed = cache.state(store)
    if state != "fresh" or followed is None:
        return
    ids = np.array([r[0] for r in store.fetch("SELECT id FROM rows ORDER BY id")], np.int64)
    if not np.array_equal(followed.engine.ids(), ids):
        yield LibraryFault(
            "cache", str(file), f"{file.name} holds other rows than the database; {advice}"
        )

"""Is a library what it was written as? Every row, every file, the cache; and what can be mended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vlar.errors import LibraryError, VlarError
from vlar.index.ingest.reader import stamp_of
from vlar.index.ingest.vector_import import NO_FILE
from vlar.index.manifest import Manifest
from vlar.index.search_cache import cache as ann
from vlar.index.search_cache import cache_file
from vlar.index.store import schema
from vlar.index.store.database import STORED, Store
from vlar.index.store.writer import Writer
from vlar.types import JsonDict
from vlar.video import content_hash

_CHUNK = 2048
_NAMED = 5  # rows of one video that a message names


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        kind: ``truth`` (the database itself), ``row`` (vectors that changed or cannot be),
            ``context``, ``orphan`` (rows or tags of no video), ``empty`` (a video without rows),
            ``missing`` and ``changed`` (files; also one that is to be read again), ``cache``.
        path: The video, or the file of the library.
        message: What, and what to do.
        repaired: Whether ``repair`` mended it.
    """

    kind: str
    path: str
    message: str
    repaired: bool = False

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return asdict(self)


def verify(store: Store, files: bool = True) -> Iterator[Problem]:
    """Everything that is wrong. Use inside ``store.snapshot()``.

    A cache that is absent or behind the truth is not wrong: the next query mends it.

    Args:
        store: The library.
        files: Whether to look at the videos too; one that was touched is read (its hash).
    """
    damage = list(_truth(store))
    yield from damage
    if damage:
        return  # what follows reads the same pages
    manifest = Manifest.read(store.meta(), store.file.parent)
    if manifest is not None:
        yield from _rows(store, manifest.dim)
        yield from _contexts(store)
    yield from _orphans(store)
    if files:
        yield from _files(store)
    yield from _cache(store)


def repair(writer: Writer, problem: Problem) -> bool:
    """Mend what can be: True where the problem is gone.

    The cache is deleted (the next query makes it anew), orphans are deleted, and a video with
    damaged rows is marked: the next ``vlar index add`` of its file reads it again.
    """
    if problem.kind == "cache":
        (writer.file.parent / cache_file.FILE_NAME).unlink(missing_ok=True)
        return True
    with writer.transaction():
        if problem.kind == "orphan":
            writer.delete_orphans()
            return True
        if problem.kind in ("row", "context", "empty") and Path(problem.path).exists():
            writer.read_again(problem.path)
    return False


def _truth(store: Store) -> Iterator[Problem]:
    advice = "restore a copy of the folder, or move it away and index the videos again"
    try:
        found = store.fetch("PRAGMA integrity_check")
    except LibraryError as error:
        yield Problem("truth", str(store.file), error.message)
        return
    for (said,) in found:
        if said != "ok":
            yield Problem("truth", str(store.file), f"{store.file.name}: {said}; {advice}")


def _rows(store: Store, dim: int) -> Iterator[Problem]:
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
        yield Problem("row", path, message)


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


def _contexts(store: Store) -> Iterator[Problem]:
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
                yield Problem("context", path, message)
        last = found[-1][0]


def _orphans(store: Store) -> Iterator[Problem]:
    found = store.fetch("PRAGMA foreign_key_check")
    counts = {table: sum(row[0] == table for row in found) for table in {row[0] for row in found}}
    for table, count in sorted(counts.items()):
        message = f"{count} entries of {table} belong to nothing; --repair deletes them"
        yield Problem("orphan", str(store.file), message)
    without = "SELECT path FROM videos WHERE id NOT IN (SELECT video_id FROM rows)"
    for (path,) in store.fetch(without):
        yield Problem("empty", path, f"{path}: has no rows; {_again(store, path)}")


def _files(store: Store) -> Iterator[Problem]:
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
            yield Problem("missing", video.path, message)
            continue
        if changed:
            again = video.content_hash == schema.READ_AGAIN
            what = "is to be read again" if again else "has changed"
            message = f"{path}: the file {what}; run vlar index add {folder} {path}"
            yield Problem("changed", video.path, message)


def _cache(store: Store) -> Iterator[Problem]:
    file = store.file.with_name(cache_file.FILE_NAME)
    if not file.exists() or "dim" not in store.meta():
        return
    advice = "it is made again by --repair, or by the next query after it is deleted"
    found = ann.read(file)
    if found is None or not cache_file.is_whole(file, cache_file.read_header(file).facts):
        yield Problem("cache", str(file), f"{file.name} is cut, changed or of no use; {advice}")
        return
    state, cached = ann.state(store)
    if state != "fresh" or cached is None:
        return
    ids = np.array([r[0] for r in store.fetch("SELECT id FROM rows ORDER BY id")], np.int64)
    if not np.array_equal(cached.index.ids, ids):
        yield Problem("cache", str(file), f"{file.name} holds other rows than the truth; {advice}")

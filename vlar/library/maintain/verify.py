"""Check a library: its manifest, every row, tag and file, and the search cache.

Nothing here trusts a value: SQLite keeps any type in any column, and a library may come from
anybody. ``vlar.library.backends`` removes what is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlar.errors import LibraryError, VlarError
from vlar.library import cache
from vlar.library.engines.base import CacheDamage
from vlar.library.manifest import LibraryManifest
from vlar.library.recording import stamp_of
from vlar.library.store import schema, trust, values
from vlar.library.store.row_check import (
    COLUMNS,
    MOST_ID,
    NO_RECORDING,
    checked_rows,
    context_is_whole,
)
from vlar.library.store.sqlite import SqliteStore, StoreRows
from vlar.library.store.values import NO_FILE, KnownVideo
from vlar.media.video.files import content_hash
from vlar.types import JsonDict

_CHUNK = 2048
_NAMED = 5  # rows of one video that a message names
_RESTORE = "restore a copy of the folder, or move it away and index the videos again"


@dataclass(frozen=True)
class LibraryFault:
    """One fault of a library.

    Attributes:
        kind: ``database``, ``manifest``, ``row`` (damaged, or of no recording), ``context``,
            ``recording`` and ``tag`` (values that cannot be), ``orphan`` (tags of no recording),
            ``empty`` (a recording without rows), ``missing`` and ``changed`` (files; also one that
            is to be read again), ``cache``, ``lock``.
        path: The recording, or the file of the library.
        message: The fault, and what to do.
        repaired: Whether ``repair`` removed it.
        ids: Ids of the rows, contexts or recordings that ``repair`` deletes or sets again.
    """

    kind: str
    path: str
    message: str
    repaired: bool = False
    ids: tuple[int, ...] = ()

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {key: value for key, value in asdict(self).items() if key != "ids"}


def verify(store: SqliteStore, files: bool = True) -> Iterator[LibraryFault]:
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
    yield from _lock(store)
    manifest = list(_manifest(store))
    yield from manifest
    broken = list(_recordings(store))
    yield from broken
    stored_manifest = None if manifest else LibraryManifest.of(store)
    if stored_manifest is not None:
        yield from _rows(store, stored_manifest.dim)
        yield from _contexts(store)
    yield from _tags(store)
    yield from _empty(store)
    if manifest or broken:
        return
    if files:
        yield from changed_files(store.address, store.recordings())
    yield from _cache(store)


def emptied(place: object) -> list[LibraryFault]:
    """The fault of a folder whose database has no tables; none where nothing was written yet."""
    file = place / schema.FILE_NAME if isinstance(place, Path) else None
    if file is None or not file.exists():
        return []
    message = f"{file.name} has no tables ({file.stat().st_size} bytes); {_RESTORE}"
    return [LibraryFault("database", str(file), message)]


def again(folder: str, path: str) -> str:
    """Advice to read a recording of a library again."""
    return (
        f"read it again: vlar index verify {folder} --repair, then vlar index add {folder} {path}"
    )


def _database(store: SqliteStore) -> Iterator[LibraryFault]:
    try:
        messages = store.fetch("PRAGMA integrity_check(20)")
    except LibraryError as error:
        yield LibraryFault("database", str(store.file), error.message)
        return
    for (result,) in messages:
        if result != "ok":
            message = f"{store.file.name}: {' '.join(str(result).split())}; {_RESTORE}"
            yield LibraryFault("database", str(store.file), message)


def _lock(store: SqliteStore) -> Iterator[LibraryFault]:
    try:
        trust.require_lock_file(store.file.parent)
    except LibraryError as error:
        yield LibraryFault("lock", str(store.file.with_name(trust.FILE_NAME)), error.message)


def _manifest(store: SqliteStore) -> Iterator[LibraryFault]:
    faults = values.manifest_faults(store.fetch("SELECT key, value FROM meta"))
    used = store.fetch("SELECT seq FROM sqlite_sequence")
    if any(not isinstance(seq, int) or not 0 <= seq < MOST_ID for (seq,) in used):
        faults.append("its row ids")
    if faults:
        message = f"{store.file.name}: not usable: {', '.join(faults)}; repair=True sets them again"
        yield LibraryFault("manifest", str(store.file), message, ids=(1,))
        return
    try:
        LibraryManifest.of(store)
    except LibraryError as error:
        yield LibraryFault("manifest", str(store.file), error.message)


def _recordings(store: SqliteStore) -> Iterator[LibraryFault]:
    for row in store.fetch(f"SELECT {values.RECORDING} FROM videos ORDER BY id"):
        faults = values.recording_faults(row)
        if not 0 < row[0] < MOST_ID:
            faults.insert(0, "path")  # nothing can belong to it
        if not faults:
            continue
        name = row[1] if values.is_path(row[1]) else f"recording {row[0]}"
        what = "repair=True deletes it" if "path" in faults else "repair=True sets it again"
        held: dict[str, Any] = dict(zip(values.RECORDING.split(", "), row, strict=True))
        shown = ", ".join(f"{held[fault]!r:.40}" for fault in faults)
        message = f"{name}: {', '.join(faults)} cannot be {shown}; {what}"
        yield LibraryFault("recording", name, message, ids=(row[0],))


def _rows(store: SqliteStore, dim: int) -> Iterator[LibraryFault]:
    query = f"SELECT {COLUMNS} FROM rows WHERE id > ? ORDER BY id LIMIT ?"
    bad: dict[Any, list[tuple[int, str]]] = {}
    owners = {video_id for (video_id,) in store.fetch("SELECT id FROM videos")}
    last = -(1 << 63)
    while row_block := store.fetch(query, (last, _CHUNK)):
        if row_block[-1][0] <= last:
            message = f"{store.file.name}: its rows are not in order; {_RESTORE}"
            yield LibraryFault("database", str(store.file), message)
            return
        last = row_block[-1][0]
        rows = checked_rows(row_block, dim)
        lost = {row[0]: NO_RECORDING for row in row_block if row[1] not in owners}
        wrong = {**lost, **rows.damaged}
        for row_id, video_id, start_s, end_s, *_ in row_block if wrong else ():
            if row_id in wrong:
                span = f"{_seconds(start_s)} to {_seconds(end_s)} s"
                subject = f"row {row_id} ({span}: {wrong[row_id]})"
                bad.setdefault(video_id, []).append((row_id, subject))
    yield from _damaged_rows(store, bad)


def _damaged_rows(
    store: SqliteStore, bad: dict[Any, list[tuple[int, str]]]
) -> Iterator[LibraryFault]:
    paths = store.paths([video_id for video_id in bad if isinstance(video_id, int)])
    for video_id, places in bad.items():
        yield row_fault(store.address, video_id, paths.get(video_id), places)


def row_fault(
    address: str, video_id: object, path: str | None, places: Sequence[tuple[int, str]]
) -> LibraryFault:
    """The fault of damaged rows of one recording: their ids, and what is wrong with each."""
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    named = ", ".join(span for _, span in places[:_NAMED])
    how = "repair=True deletes them" if path is None else again(address, path)
    name = path or f"recording {video_id!r:.40}"
    ids = tuple(row_id for row_id, _ in places)
    return LibraryFault("row", name, f"{name}: {named}{more}; {how}", ids=ids)


def _seconds(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value!r:.40}"


def _contexts(store: SqliteStore) -> Iterator[LibraryFault]:
    shape = values.context_shape(store.meta()) or (0, 0)
    query = (
        "SELECT row_id, tokens, contexts.checksum, rows.id, path FROM contexts "
        "LEFT JOIN rows ON rows.id = row_id LEFT JOIN videos ON videos.id = video_id "
        "WHERE row_id > ? ORDER BY row_id LIMIT 64"
    )
    last = -(1 << 63)
    while rows := store.fetch(query, (last,)):
        for row_id, blob, checksum, owner, path in rows:
            name = path if values.is_path(path) else str(store.file)
            if owner is None:
                message = f"the context of row {row_id} has no row; repair=True deletes it"
                yield LibraryFault("context", name, message, ids=(row_id,))
            elif not context_is_whole(blob, checksum, shape):
                how = again(store.address, name)
                message = f"{name}: the context of row {row_id} has changed; {how}"
                yield LibraryFault("context", name, message, ids=(row_id,))
        last = rows[-1][0]


def _tags(store: SqliteStore) -> Iterator[LibraryFault]:
    orphans, broken = 0, 0
    owners = {video_id for (video_id,) in store.fetch("SELECT id FROM videos")}
    for video_id, key, value in store.fetch("SELECT video_id, key, value FROM tags"):
        if not (isinstance(video_id, int) and values.is_text(key) and values.is_text(value)):
            broken += 1
        elif video_id not in owners:
            orphans += 1
    if broken:
        message = f"{broken} tags are not text of a usable length; repair=True deletes them"
        yield LibraryFault("tag", str(store.file), message)
    if orphans:
        message = f"{orphans} tags have no recording; repair=True deletes them"
        yield LibraryFault("orphan", str(store.file), message)


def _empty(store: SqliteStore) -> Iterator[LibraryFault]:
    for video_id, path in sorted(store.paths().items()):
        if not store.fetch("SELECT 1 FROM rows WHERE video_id = ? LIMIT 1", (video_id,)):
            yield LibraryFault(
                "empty", path, f"{path}: has no rows; {again(store.address, path)}", ids=(video_id,)
            )


def changed_files(folder: str, known: Iterable[KnownVideo]) -> Iterator[LibraryFault]:
    """The recordings of a library whose files are gone or have changed."""
    for video in known:
        if video.stamp.size == NO_FILE.size:
            continue
        path = Path(video.path)
        try:
            if not path.is_file() and not path.is_dir():  # a FIFO waits for ever
                raise FileNotFoundError(path)
            same = stamp_of(path) == video.stamp or content_hash(path) == video.content_hash
        except (OSError, ValueError, VlarError):
            message = (
                f"{path}: the file is gone or cannot be read; bring it back, or run "
                f"vlar index remove {folder} {path}"
            )
            yield LibraryFault("missing", video.path, message)
            continue
        if not same:
            is_again = video.content_hash == schema.READ_AGAIN
            what = "is to be read again" if is_again else "has changed"
            message = f"{path}: the file {what}; run vlar index add {folder} {path}"
            yield LibraryFault("changed", video.path, message)


def _cache(store: SqliteStore) -> Iterator[LibraryFault]:
    file = cache.file_of(store)
    if not file.exists() or "dim" not in store.meta():
        return
    advice = "repair=True builds it again, and so does the next query after it is deleted"
    stored = cache.read(file)
    if stored is None or not cache.is_whole(file):
        message = f"{file} is cut, changed or not usable; {advice}"
        yield LibraryFault("cache", str(file), message)
    elif not _holds_the_rows(store, stored):
        message = f"{file} holds other rows than the database; {advice}"
        yield LibraryFault("cache", str(file), message)


def _holds_the_rows(store: SqliteStore, found: cache.SearchCache) -> bool:
    """Return whether a cache, brought up to date, has every row as it is; True for a stale one."""
    state, followed = cache.state(store)
    if state != "fresh" or followed is None:
        same_rows = cache.is_complete(store, found) and cache.has_last_rows(store, found)
        return found.origin != cache.Origin.of(store) or same_rows
    source = StoreRows(store, followed.origin.dim)
    try:
        same = followed.engine.holds(source)
    except CacheDamage:
        return False
    held = [int(row_id) for row_id in followed.engine.ids()]
    ids = [row_id for (row_id,) in store.fetch("SELECT id FROM rows ORDER BY id")]
    # Rows that were damaged after the engine was built are named as rows.
    return same and sorted({*held, *source.damaged}) == ids

"""The place of a library: whether one is there, who may write, how it is searched and kept sound.

In a folder, ``library.sqlite`` is the source of truth (``FolderBackend``); the search cache lies in
the user's cache folder. A database of a plugin has both.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vlar import registry
from vlar.library import cache
from vlar.library.address import LibraryPlace, place_of
from vlar.library.cache import SearchCache
from vlar.library.compact import CompactReport, compact, describe, settle
from vlar.library.engines.base import Probes
from vlar.library.folder import check_place, make_folder
from vlar.library.rows import LibraryInfo, UpgradeReport
from vlar.library.store import schema, trust, values
from vlar.library.store.base import LibraryStore, LibraryWriter, line_of
from vlar.library.store.row_check import MOST_ID
from vlar.library.store.sqlite import NO_FILE, SqliteStore
from vlar.library.store.trust import not_plain, writer_lock
from vlar.library.store.writer import SqliteWriter
from vlar.library.upgrade import UpgradeRequest
from vlar.library.verify import LibraryFault, verify
from vlar.model.library_model import LibraryModel

_FINE = (("generation", "0"), ("library_id", "0"))


def _rows(writer: SqliteWriter, fault: LibraryFault) -> str:
    writer.delete_rows(fault.ids)
    return _read_again(writer, fault, f"{_count(fault.ids, 'damaged row')} deleted")


def _contexts(writer: SqliteWriter, fault: LibraryFault) -> str:
    writer.connection.executemany(
        "DELETE FROM contexts WHERE row_id = ?", [(row_id,) for row_id in fault.ids]
    )
    return _read_again(writer, fault, f"{_count(fault.ids, 'damaged context')} deleted")


def _read_again(writer: SqliteWriter, fault: LibraryFault, done: str) -> str:
    """Mark the recording of a fault, where its file is there."""
    folder = writer.file.parent
    if not values.is_path(fault.path) or not writer.fetch(
        "SELECT 1 FROM videos WHERE path = ?", (fault.path,)
    ):
        return f"{fault.path}: {done}"
    with suppress(OSError, ValueError):
        if Path(fault.path).exists():
            writer.read_again(fault.path)
            return f"{fault.path}: {done}; read it again: vlar index add {folder} {fault.path}"
    return f"{fault.path}: {done}; its file is gone: bring it back and add it again"


def _recordings(writer: SqliteWriter, fault: LibraryFault) -> str:
    """Set values of a recording again; one without a usable path is deleted."""
    for video_id in fault.ids:
        (row,) = writer.fetch(f"SELECT {values.RECORDING} FROM videos WHERE id = ?", (video_id,))
        faults = values.recording_faults(row)
        if "path" in faults or not 0 < video_id < MOST_ID:
            writer.delete([video_id])
            continue
        query = "SELECT max(end_s) FROM rows WHERE video_id = ?"
        end_s = writer.fetch(query, (video_id,))[0][0]
        new = {
            "content_hash": schema.READ_AGAIN,
            "size": 0 if Path(row[1]).exists() else NO_FILE.size,
            "mtime_ns": 0,
            "duration_s": end_s if values.is_length(end_s) else 0.0,
            "unreadable_windows": 0,
            "added_at_s": time.time(),
        }
        for column in faults:
            writer.connection.execute(
                f"UPDATE videos SET {column} = ? WHERE id = ?", (new[column], video_id)
            )
    return ""


def _tags(writer: SqliteWriter, _: LibraryFault) -> str:
    for video_id, key, value in writer.fetch("SELECT video_id, key, value FROM tags"):
        if not (isinstance(video_id, int) and values.is_text(key) and values.is_text(value)):
            raw = key.encode(errors="replace") if isinstance(key, str) else key
            writer.connection.execute(
                "DELETE FROM tags WHERE video_id = ? AND CAST(key AS BLOB) = CAST(? AS BLOB)",
                (video_id, raw),
            )
    return ""


def _orphans(writer: SqliteWriter, _: LibraryFault) -> str:
    writer.delete_orphans()
    return ""


def _manifest(writer: SqliteWriter, _: LibraryFault) -> str:
    """Set counters of the manifest again; every cache is older than the new ones."""
    for key, value in writer.fetch("SELECT key, value FROM meta"):
        if values.manifest_faults([*_FINE, (key, value)]):
            raw = key.encode() if isinstance(key, str) else key
            writer.connection.execute(
                "DELETE FROM meta WHERE CAST(key AS BLOB) = CAST(? AS BLOB)", (raw,)
            )
    keys = {key for (key,) in writer.fetch("SELECT key FROM meta")}
    if "generation" not in keys:
        writer.connection.execute("DELETE FROM tombstones")
        writer.set_meta({"generation": "1", "compacted_at": "1"})
    writer.set_meta({"library_id": secrets.token_hex(16)})  # no cache belongs to it
    writer.connection.execute(
        "UPDATE sqlite_sequence SET seq = CASE name "
        "WHEN 'rows' THEN (SELECT coalesce(max(id), 0) FROM rows WHERE id < ?) "
        "ELSE (SELECT coalesce(max(id), 0) FROM videos WHERE id < ?) END",
        (MOST_ID, MOST_ID),
    )
    return ""


def _count(ids: Sequence[int], what: str) -> str:
    return f"{len(ids)} {what}{'' if len(ids) == 1 else 's'}"


def _delete(path: Path) -> None:
    """Delete a file, a link or a FIFO; of a folder, all of it."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)


_WAYS = {
    "row": _rows,
    "context": _contexts,
    "empty": partial(_read_again, done="has no rows"),
    "recording": _recordings,
    "tag": _tags,
    "orphan": _orphans,
    "manifest": _manifest,
}


S = TypeVar("S", bound=LibraryStore)
W = TypeVar("W", bound=LibraryWriter)


class Backend(Protocol[S, W]):
    """The place of a library.

    A backend other than ``folder`` reads its addresses: ``address(text)`` gives a ``StoreAddress``.
    """

    @classmethod
    def example(cls, folder: Path) -> str:
        """Address of a new library in an empty folder, which ``vlar.testing`` fills."""
        return str(folder / "l.vlar")

    @property
    def is_shared(self) -> bool:
        """Return whether other processes may open it while this one has it open."""
        ...

    def check(self, create: bool) -> None:
        """Refuse a place that is not a library and cannot become one.

        Raises:
            LibraryError: the message names what is there, and what to do.
        """
        ...

    def reader(self) -> S | None:
        """A connection for reads; None where nothing was written yet."""
        ...

    def writing(self) -> AbstractContextManager[W]:
        """A connection for the one writer, with its lock held.

        Raises:
            LibraryLockedError: another process is writing.
        """
        ...

    def lock(self) -> AbstractContextManager[None]:
        """The writer's lock alone.

        Raises:
            LibraryLockedError: another process is writing.
        """
        ...

    def repair_lock(self) -> None:
        """Remove what stands in place of a lock and is not one; by default nothing does."""

    def settle(self, current: SearchCache | None, probes: Probes | None) -> SearchCache | None:
        """Prepare a large library after a change, so that no query waits; None: nothing to do.

        The writer's lock is held.
        """
        ...

    def upgrade(self, model: LibraryModel | None, request: UpgradeRequest) -> UpgradeReport:
        """Bring the library up to date with its model."""
        ...

    def search_cache(
        self, store: S, current: SearchCache | None, probes: Probes | None
    ) -> SearchCache:
        """Rows to search in the present state; ``current`` must not be used afterwards.

        Call it first inside ``store.snapshot()``.
        """
        ...

    def rebuilt_cache(self, store: S, probes: Probes | None) -> SearchCache:
        """The same, built again from the rows."""
        ...

    def note_damage(self, store: S, found: SearchCache) -> None:
        """Put the rows that a cache lacks into ``store.damaged``; by default it has all.

        Raises:
            CacheDamage: such a row is whole.
        """

    def damage_line(self, store: S) -> str | None:
        """One line about the rows in ``store.damaged``; None without any."""
        return line_of(store.address, store.damaged)

    def info(self, store: S | None) -> LibraryInfo:
        """Facts of the library; ``store`` is None where nothing was written yet."""
        ...

    def verify(self, store: S, files: bool) -> Iterator[LibraryFault]:
        """All faults. Use inside ``store.snapshot()``."""
        ...

    def repaired(self, writer: W, fault: LibraryFault) -> LibraryFault:
        """A fault after its repair, a transaction of its own: gone, or with what remains to do."""
        ...

    def compact(
        self, writer: W, probes: Probes | None, retrain: bool, engine: str | None
    ) -> CompactReport:
        """Merge every change, forget deleted rows. Outside of a transaction."""
        ...


@registry.register("backend", "folder")
class FolderBackend(Backend[SqliteStore, SqliteWriter]):
    """A library in a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def is_shared(self) -> bool:
        return True

    def check(self, create: bool) -> None:
        check_place(self._path, create)

    def reader(self) -> SqliteStore | None:
        if not (self._path / schema.FILE_NAME).exists():
            return None
        return SqliteStore.open_to_read(self._path)

    @contextmanager
    def writing(self) -> Generator[SqliteWriter, None, None]:
        """The writer, with its lock held; the folder is created where it is absent."""
        make_folder(self._path)
        with writer_lock(self._path):
            writer = SqliteWriter.open_to_write(self._path)
            try:
                yield writer
            finally:
                writer.close()

    def lock(self) -> AbstractContextManager[None]:
        return writer_lock(self._path)

    def repair_lock(self) -> None:
        for file in self._path.glob(f"{trust.FILE_NAME}*"):
            if not_plain(file) or (file.name == trust.FILE_NAME and file.stat().st_size):
                _delete(file)

    def settle(self, current: SearchCache | None, probes: Probes | None) -> SearchCache | None:
        return settle(self._path, current, probes)

    def upgrade(self, model: LibraryModel | None, request: UpgradeRequest) -> UpgradeReport:
        # A query at the command line need not compile it.
        from vlar.library.lazy_upgrade import upgrade_library

        return upgrade_library(self._path, model, request)

    def damage_line(self, store: SqliteStore) -> str | None:
        if not store.damaged:
            return None
        owner = store.fetch("SELECT video_id FROM rows WHERE id = ?", (min(store.damaged),))
        is_row = bool(owner) and isinstance(owner[0][0], int)
        path = store.paths([owner[0][0]]).get(owner[0][0]) if is_row else None
        return line_of(store.address, store.damaged, f" of {path}" if path else "")

    def info(self, store: SqliteStore | None) -> LibraryInfo:
        return describe(self._path, store)

    def search_cache(
        self, store: SqliteStore, current: SearchCache | None, probes: Probes | None
    ) -> SearchCache:
        return cache.refresh(store, current, probes)

    def rebuilt_cache(self, store: SqliteStore, probes: Probes | None) -> SearchCache:
        return cache.rebuild(store, probes)

    def note_damage(self, store: SqliteStore, found: SearchCache) -> None:
        cache.note_damage(store, found)

    def verify(self, store: SqliteStore, files: bool) -> Iterator[LibraryFault]:
        return verify(store, files)

    def repaired(self, writer: SqliteWriter, fault: LibraryFault) -> LibraryFault:
        if fault.kind == "cache":
            _delete(cache.file_of(writer))
            return replace(fault, repaired=True)
        if fault.kind == "lock":
            return replace(fault, repaired=True)  # ``repair_lock``: else nothing is written
        way = _WAYS.get(fault.kind)
        if way is None or (fault.kind == "manifest" and not fault.ids):
            return fault
        with writer.transaction():
            repairer = way(writer, fault)
        # A recording without rows has none before it is read again.
        return replace(fault, repaired=fault.kind != "empty", message=repairer or fault.message)

    def compact(
        self, writer: SqliteWriter, probes: Probes | None, retrain: bool, engine: str | None
    ) -> CompactReport:
        return compact(writer, probes, retrain, engine)


def backend_of(address: str | LibraryPlace) -> Backend[Any, Any]:
    """The place that an address names.

    Raises:
        UsageError: it is not a usable address.
    """
    location = place_of(address)
    name = "folder" if isinstance(location, Path) else location.backend
    return registry.get("backend", name)(location)

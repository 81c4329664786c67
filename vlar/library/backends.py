"""The place of a library: whether one is there, who may write, how it is searched and repaired.

In a folder, ``library.sqlite`` is the source of truth (``FolderBackend``); the search cache lies in
the user's cache folder. A database of a plugin has both.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vlar import registry
from vlar.library import cache
from vlar.library.address import LibraryPlace, place_of
from vlar.library.cache import SearchCache
from vlar.library.engines.base import Probes
from vlar.library.folder import check_place, delete_whatever, make_folder
from vlar.library.maintain.compact import CompactReport, compact, describe, settle
from vlar.library.maintain.upgrade import UpgradeRequest
from vlar.library.maintain.verify import LibraryFault, verify
from vlar.library.rows import LibraryInfo, UpgradeReport
from vlar.library.store import schema, trust
from vlar.library.store.base import LibraryStore, LibraryWriter, line_of
from vlar.library.store.sqlite import SqliteStore
from vlar.library.store.trust import not_plain, writer_lock
from vlar.library.store.writer import SqliteWriter
from vlar.model.library_model import LibraryModel

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
                delete_whatever(file)

    def settle(self, current: SearchCache | None, probes: Probes | None) -> SearchCache | None:
        return settle(self._path, current, probes)

    def upgrade(self, model: LibraryModel | None, request: UpgradeRequest) -> UpgradeReport:
        # A query at the command line need not compile it.
        from vlar.library.maintain.lazy_upgrade import upgrade_library

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
        from vlar.library.maintain.repair import repaired  # most commands never need it

        return repaired(writer, fault)

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

"""The place of a library: whether one is there, who may write, how it is searched and kept sound.

In a folder, ``library.sqlite`` is the source of truth and ``ann.faiss`` a cache
(``FolderBackend``). Milvus has both (``vlar.index.milvus.backend``).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vlar.index.address import LibraryPlace, place_of
from vlar.index.engines.base import Probes
from vlar.index.folder import check_place, make_folder
from vlar.index.maintenance.compact import CompactReport, compact, settle
from vlar.index.maintenance.info import describe
from vlar.index.maintenance.repair import remove_lock, repair
from vlar.index.maintenance.upgrade import UpgradeProgress, UpgradeReport, upgrade
from vlar.index.maintenance.verify import LibraryFault, verify
from vlar.index.protocol import LibraryModel
from vlar.index.report import LibraryInfo
from vlar.index.search_cache import cache
from vlar.index.search_cache.cache import SearchCache
from vlar.index.store import schema
from vlar.index.store.base import LibraryStore, LibraryWriter
from vlar.index.store.damage import damage_line
from vlar.index.store.lock import writer_lock
from vlar.index.store.sqlite import SqliteStore
from vlar.index.store.writer import SqliteWriter

S = TypeVar("S", bound=LibraryStore)
W = TypeVar("W", bound=LibraryWriter)


class Backend(Protocol[S, W]):
    """The place of a library."""

    @property
    def address(self) -> str:
        """The library as a user writes it."""
        ...

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
        """Remove what stands in place of a lock and is not one."""
        ...

    def settle(self, current: SearchCache | None, probes: Probes | None) -> SearchCache | None:
        """After a change: make a large library ready, so that no query waits; None: nothing to do.

        The writer's lock is held.
        """
        ...

    def upgrade(
        self, model: LibraryModel | None, progress: UpgradeProgress | None
    ) -> UpgradeReport:
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
        """Put the rows that a cache lacks into ``store.damaged``.

        Raises:
            CacheDamage: such a row is whole.
        """
        ...

    def damage_line(self, store: S) -> str | None:
        """One line about the rows in ``store.damaged``; None without any."""
        ...

    def info(self, store: S | None) -> LibraryInfo:
        """Facts of the library; ``store`` is None where nothing was written yet."""
        ...

    def verify(self, store: S, files: bool) -> Iterator[LibraryFault]:
        """All faults. Use inside ``store.snapshot()``."""
        ...

    def repaired(self, writer: W, fault: LibraryFault) -> LibraryFault:
        """A fault after its repair, which is a transaction of its own."""
        ...

    def compact(
        self, writer: W, probes: Probes | None, retrain: bool, engine: str | None
    ) -> CompactReport:
        """Merge every change, forget deleted rows. Outside of a transaction."""
        ...


class FolderBackend:
    """A library in a folder.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def address(self) -> str:
        """The folder."""
        return str(self._path)

    @property
    def is_shared(self) -> bool:
        """Return whether other processes may open it too: always."""
        return True

    def check(self, create: bool) -> None:
        """Refuse a path that is not a library and cannot become one."""
        check_place(self._path, create)

    def reader(self) -> SqliteStore | None:
        """A read-only connection; None without a database."""
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

    @contextmanager
    def lock(self) -> Generator[None, None, None]:
        """The writer's lock alone."""
        with writer_lock(self._path):
            yield

    def repair_lock(self) -> None:
        """Delete what stands in place of the lock and is not an empty file."""
        remove_lock(self._path)

    def settle(self, current: SearchCache | None, probes: Probes | None) -> SearchCache | None:
        """After a change: update the cache of a large library, so that no query waits for it."""
        return settle(self._path, current, probes)

    def upgrade(
        self, model: LibraryModel | None, progress: UpgradeProgress | None
    ) -> UpgradeReport:
        """Bring the library up to date with its model."""
        return upgrade(self._path, model, progress)

    def search_cache(
        self, store: SqliteStore, current: SearchCache | None, probes: Probes | None
    ) -> SearchCache:
        """The cache of the present state. Call it first inside ``store.snapshot()``."""
        return cache.refresh(store, current, probes)

    def rebuilt_cache(self, store: SqliteStore, probes: Probes | None) -> SearchCache:
        """The cache, built again from the rows."""
        return cache.rebuild(store, probes)

    def note_damage(self, store: SqliteStore, found: SearchCache) -> None:
        """Put the rows that a cache lacks into ``store.damaged``."""
        cache.note_damage(store, found)

    def damage_line(self, store: SqliteStore) -> str | None:
        """One line about the rows in ``store.damaged``; None without any."""
        return damage_line(store)

    def info(self, store: SqliteStore | None) -> LibraryInfo:
        """Facts of the library."""
        return describe(self._path, store)

    def verify(self, store: SqliteStore, files: bool) -> Iterator[LibraryFault]:
        """All faults."""
        return verify(store, files)

    def repaired(self, writer: SqliteWriter, fault: LibraryFault) -> LibraryFault:
        """A fault after its repair."""
        return repair(writer, fault)

    def compact(
        self, writer: SqliteWriter, probes: Probes | None, retrain: bool, engine: str | None
    ) -> CompactReport:
        """Merge every change into the cache, forget deleted rows, shrink the files."""
        return compact(writer, probes, retrain, engine)


def backend_of(address: str | LibraryPlace) -> Backend[Any, Any]:
    """The place that an address names.

    Raises:
        UsageError: it is not a usable address.
    """
    place = place_of(address)
    if isinstance(place, Path):
        return FolderBackend(place)
    from vlar.index.milvus.backend import MilvusBackend

    return MilvusBackend(place)

"""The open connections of a library: who reads, who writes, what is searched."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vlar.errors import LibraryError, UsageError
from vlar.library.address import LibraryPlace, place_of
from vlar.library.backends import backend_of
from vlar.library.cache import RowFigures, SearchCache
from vlar.library.engines.base import CacheDamage
from vlar.library.engines.faiss_cache import accelerate, check_device
from vlar.library.maintain.verify import LibraryFault
from vlar.library.manifest import LibraryManifest
from vlar.library.model_provider import LazyModel, QueryWords
from vlar.library.store.base import LibraryStore, LibraryWriter, SnapshotMovedError

if TYPE_CHECKING:
    from vlar.library.maintain.library_copy import CopyReport
    from vlar.model.library_model import LibraryModel
    from vlar.model.model import Model

T = TypeVar("T")
_SNAPSHOTS = 3  # that are tried for one query, where the store cannot keep one
_log = logging.getLogger("vlar")


class LibraryConnection:
    """A library's place and its model; each connection is opened when it is first needed.

    Attributes:
        path: The place.
        models: The library's model, loaded when it is first needed.
        backend: Opens the place.
        words: Vectors of the phrases that were asked last.
        mutex: Held by whatever reads; the connection for reads belongs to one thread at a time.
            A writer has a connection of its own, so reads go on while it writes.
    """

    def __init__(
        self,
        path: str | LibraryPlace,
        model: Model | LibraryModel | str | Path | None,
        create: bool,
        device: str,
    ) -> None:
        self.path = place_of(path)
        self.models = LazyModel(model, self.path)
        self.mutex = threading.RLock()
        self.words = QueryWords()
        self._writes = threading.RLock()  # taken before the mutex, never after it
        self._store: LibraryStore | None = None
        self._cache: SearchCache | None = None
        self._cache_version = -1  # the store's data_version that the cache belongs to
        self._manifest: tuple[int, LibraryManifest] | None = None  # with its data_version
        self._device = check_device(device)
        self._is_closed = False
        self.backend = backend_of(self.path)
        self.backend.check(create)
        self.reader()

    def close(self) -> None:
        """Close the connections; what asks for one later is refused."""
        self.disconnect()
        self._is_closed = True

    def described(self) -> str:
        """The library as ``repr`` shows it: path, number of recordings, model."""
        if self._is_closed:
            return f"Library({str(self.path)!r}, closed)"
        with self.mutex:
            try:
                store = self.reader()
                count = 0 if store is None else store.counts()[0]
                manifest = None if store is None else LibraryManifest.of(store)
            except LibraryError as error:
                return f"Library({str(self.path)!r}, {error.kind})"
        model = "none yet" if manifest is None else repr(manifest.model)
        return f"Library({str(self.path)!r}, recordings={count}, model={model})"

    def disconnect(self) -> None:
        """Close the connections; they are opened again when one is needed."""
        with self.mutex:
            if self._store is not None:
                self._store.close()
            self._store = self._cache = self._manifest = None
            self._cache_version = -1  # another connection counts from its own start

    def reader(self) -> LibraryStore | None:
        """The connection for reads; None where nothing was written yet.

        Raises:
            LibraryError: the library was closed.
        """
        self._require_open()
        if self._store is None:
            self._store = self.backend.reader()
        return self._store

    def nonempty(self) -> tuple[LibraryStore, LibraryManifest]:
        """The store and the manifest of a library that has rows."""
        store = self.reader()
        version = -1 if store is None else store.data_version()
        if store is not None and self._manifest is not None and self._manifest[0] == version:
            return store, self._manifest[1]
        manifest = None if store is None else LibraryManifest.of(store)
        if store is None or manifest is None or not store.has_rows():
            raise LibraryError(
                f"library {self.path} is empty; add videos: vlar index add {self.path} VIDEOS"
            )
        self._manifest = version, manifest
        return store, manifest

    def search_cache(self, store: LibraryStore) -> SearchCache:
        """The cache of the present state. Call it first inside ``store.snapshot()``."""
        if self._cache is None or self._cache_version != store.data_version():
            current, self._cache = self._cache, None  # an error leaves none that is half updated
            self._cache = self.backend.search_cache(store, current, self.models.probes())
            self._cache_version = store.data_version()
        accelerate(self._cache.engine, self._device)
        return self._cache

    def current_cache(self) -> tuple[SearchCache, int] | None:
        """The cache in memory and the version of the store that it belongs to, after
        ``nonempty``; None where it must be brought up to date.
        """
        version = -1 if self._manifest is None else self._manifest[0]
        if self._cache is None or self._cache_version != version:
            return None
        return self._cache, version

    def row_figures(self, store: LibraryStore) -> RowFigures | None:
        """Figures of rows that no query changes, inside ``store.snapshot()``; None where the cache
        in memory, which proves that ids mean the same rows, is of another state.
        """
        is_current = self._cache is not None and self._cache_version == store.data_version()
        return self._cache.everyday if self._cache is not None and is_current else None

    def searched(self, store: LibraryStore, ask: Callable[[SearchCache], T]) -> T:
        """Result of ``ask`` with the cache of the present state, in one snapshot.

        A cache that proves damaged is built again; damaged rows are named.
        """

        def search() -> T:
            try:
                current = self.search_cache(store)
                self.backend.note_damage(store, current)
                return ask(current)
            except CacheDamage as damage:
                _log.warning("library %s: %s; its search index is built again", self.path, damage)
                self._cache = self.backend.rebuilt_cache(store, self.models.probes())
                self._cache_version = store.data_version()
                self.backend.note_damage(store, self._cache)
                return ask(self._cache)

        return self._in_snapshot(store, search)

    def scanned(self, store: LibraryStore, ask: Callable[[None], T]) -> T:
        """Result of ``ask`` without a cache, in one snapshot; damaged rows are named."""
        return self._in_snapshot(store, lambda: ask(None))

    def _in_snapshot(self, store: LibraryStore, ask: Callable[[], T]) -> T:
        """Result of ``ask`` in one snapshot; it runs again where the store cannot keep one."""
        for retries in reversed(range(_SNAPSHOTS)):
            store.damaged.clear()
            try:
                with store.snapshot():
                    answer = ask()
                    self.name_damage(store)
                    return answer
            except SnapshotMovedError:
                if not retries:
                    raise
        raise AssertionError  # the loop returns or raises

    def forget_cache(self) -> None:
        """Drop the cache, which a change made stale."""
        self._cache = None

    def name_damage(self, store: LibraryStore) -> None:
        """Warn of the damaged rows that the last read left out."""
        if (line := self.backend.damage_line(store)) is not None:
            _log.warning("%s", line)

    def settle(self) -> None:
        """Update the cache of a large library after a change, so that no query waits for it."""
        with self.mutex:
            current, self._cache = self._cache, None
            self._cache = self.backend.settle(current, self.models.probes()) or current

    def copy_to(
        self, other: LibraryConnection, progress: Callable[[int, int], None] | None
    ) -> CopyReport:
        """Copy this library into another one (``Library.copy_to``)."""
        from vlar.library.maintain.library_copy import copy_library

        if self.path == other.path:
            raise UsageError(f"{self.path} cannot be copied to itself; give another library")
        with self.mutex, other.alone():
            store = self.reader()
            if store is None:
                raise LibraryError(f"library {self.path} is empty; there is nothing to copy")
            with other.writing() as writer:
                report = copy_library(store, writer, progress)
                other.settle()
                return report

    @contextmanager
    def writing(self) -> Generator[LibraryWriter, None, None]:
        """The one writer, with its lock held.

        Raises:
            LibraryLockedError: another process is writing.
        """
        with self._writes:
            self._require_open()
            with self.backend.writing() as writer:
                yield writer

    @contextmanager
    def alone(self) -> Generator[None, None, None]:
        """Keep other threads from reading and writing, for a read that decides a write."""
        with self._writes, self.mutex:
            yield

    def repair(self, found: Sequence[LibraryFault]) -> list[LibraryFault]:
        """Repair faults as far as they can be (``Library.verify``), and report of each."""
        if any(fault.kind == "lock" for fault in found):
            self.backend.repair_lock()
        self.forget_cache()
        with self.writing() as writer:
            return [self.backend.repaired(writer, fault) for fault in found]

    def _require_open(self) -> None:
        if self._is_closed:
            address = str(self.path)
            raise LibraryError(
                f"library {address} is closed; open it again: vlar.Library({address!r})"
            )

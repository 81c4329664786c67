"""The open files of a library: who reads, who writes, what is searched."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from typing_extensions import Self

from vlar.errors import LibraryError
from vlar.index.engines.base import CacheDamage
from vlar.index.folder import check_place, make_folder
from vlar.index.maintenance.compact import settle
from vlar.index.manifest import LibraryManifest
from vlar.index.model_provider import LazyModel
from vlar.index.protocol import LibraryModel
from vlar.index.search_cache import cache
from vlar.index.search_cache.faiss_support import accelerate, check_device
from vlar.index.store import schema
from vlar.index.store.damage import damage_line
from vlar.index.store.database import Store
from vlar.index.store.lock import writer_lock
from vlar.index.store.writer import StoreWriter

T = TypeVar("T")
_log = logging.getLogger("vlar")


class LibraryConnection:
    """A library's folder and its model; each file is opened when it is first needed."""

    def __init__(
        self,
        path: str | Path,
        model: LibraryModel | str | Path | None = None,
        create: bool = True,
        device: str = "cpu",
    ) -> None:
        self.path = Path(path)
        self._models = LazyModel(model, self.path)
        self._mutex = threading.RLock()
        self._store: Store | None = None
        self._cache: cache.SearchCache | None = None
        self._cache_version = -1  # the store's data_version that the cache belongs to
        self._manifest: tuple[int, LibraryManifest] | None = None  # with its data_version
        self._device = check_device(device)
        check_place(self.path, create)
        self._reader()

    def __enter__(self) -> Self:
        """The library itself; it is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the files. A later call opens them again."""
        with self._mutex:
            if self._store is not None:
                self._store.close()
            self._store = self._cache = self._manifest = None
            self._cache_version = -1  # another connection counts from its own start

    def _reader(self) -> Store | None:
        if self._store is None and (self.path / schema.FILE_NAME).exists():
            self._store = Store.open_to_read(self.path)
        return self._store

    def _open_nonempty(self) -> tuple[Store, LibraryManifest]:
        """The store and the manifest of a library that has rows."""
        store = self._reader()
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

    def _search_cache(self, store: Store) -> cache.SearchCache:
        """The cache of the present state. Call it first inside ``store.snapshot()``."""
        if self._cache is None or self._cache_version != store.data_version():
            current, self._cache = self._cache, None  # an error leaves none that is half updated
            self._cache = cache.refresh(store, current, self._models.probes())
            self._cache_version = store.data_version()
        accelerate(self._cache.engine, self._device)
        return self._cache

    def _current_cache(self) -> tuple[cache.SearchCache, int] | None:
        """The cache in memory and the version of the store that it belongs to, after
        ``_open_nonempty``; None where it must be brought up to date.
        """
        version = -1 if self._manifest is None else self._manifest[0]
        if self._cache is None or self._cache_version != version:
            return None
        return self._cache, version

    def _searched(self, store: Store, ask: Callable[[cache.SearchCache], T]) -> T:
        """What ``ask`` gives with the cache of the present state, in one snapshot.

        A cache that proves damaged is built again; damaged rows are named.
        """
        store.damaged.clear()
        with store.snapshot():
            try:
                current = self._search_cache(store)
                cache.note_damage(store, current)
                found = ask(current)
            except CacheDamage as damage:
                _log.warning("%s: %s; it is built again", self.path / cache.FILE_NAME, damage)
                self._cache = cache.rebuild(store, self._models.probes())
                self._cache_version = store.data_version()
                cache.note_damage(store, self._cache)
                found = ask(self._cache)
            self._name_damage(store)
        return found

    def _scanned(self, store: Store, ask: Callable[[None], T]) -> T:
        """What ``ask`` gives without a cache, in one snapshot; damaged rows are named."""
        store.damaged.clear()
        with store.snapshot():
            found = ask(None)
            self._name_damage(store)
        return found

    def _name_damage(self, store: Store) -> None:
        if (line := damage_line(store)) is not None:
            _log.warning("%s", line)

    def _settle(self) -> None:
        """After a change: update the cache of a large library, so that no query waits for it."""
        current, self._cache = self._cache, None
        self._cache = settle(self.path, current, self._models.probes()) or current

    @contextmanager
    def _writing(self) -> Generator[StoreWriter, None, None]:
        make_folder(self.path)
        with writer_lock(self.path):
            writer = StoreWriter.open_to_write(self.path)
            try:
                yield writer
            finally:
                writer.close()

"""The files of a library while it is open: who reads, who writes, what is searched."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import Self

from vlar.errors import LibraryError
from vlar.index.folder import check_place, make_folder
from vlar.index.maintenance import compact as upkeep
from vlar.index.manifest import Manifest
from vlar.index.model_provider import ModelAtHand
from vlar.index.protocol import LibraryModel
from vlar.index.search_cache import cache as ann
from vlar.index.search_cache.device import check_device, on_device
from vlar.index.store import schema
from vlar.index.store.database import Store
from vlar.index.store.lock import writer_lock
from vlar.index.store.writer import Writer


class OpenedFolder:
    """A library's folder with the model at hand; files are opened when they are needed."""

    def __init__(
        self,
        path: str | Path,
        model: LibraryModel | str | Path | None = None,
        create: bool = True,
        device: str = "cpu",
    ) -> None:
        self.path = Path(path)
        self._models = ModelAtHand(model, self.path)
        self._mutex = threading.RLock()
        self._store: Store | None = None
        self._cached: ann.Cached | None = None
        self._cached_at = -1  # the store's data_version that it belongs to
        self._known: tuple[int, Manifest] | None = None
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
            self._store = self._cached = self._known = None
            self._cached_at = -1  # another connection counts anew

    def _reader(self) -> Store | None:
        if self._store is None and (self.path / schema.FILE_NAME).exists():
            self._store = Store.open_to_read(self.path)
        return self._store

    def _filled(self) -> tuple[Store, Manifest]:
        store = self._reader()
        version = -1 if store is None else store.data_version()
        if store is not None and self._known is not None and self._known[0] == version:
            return store, self._known[1]
        manifest = None if store is None else Manifest.read(store.meta(), self.path)
        if store is None or manifest is None or not store.has_rows():
            raise LibraryError(
                f"library {self.path} is empty; add videos: vlar index add {self.path} VIDEOS"
            )
        self._known = version, manifest
        return store, manifest

    def _searched(self, store: Store) -> ann.Cached:
        if self._cached is not None and self._cached_at == store.data_version():
            return self._cached
        fresh = ann.refresh(store, self._cached, self._models.probes())
        if fresh is not self._cached:
            self._cached = on_device(fresh, self._device)
        self._cached_at = store.data_version()
        return self._cached or fresh

    def _settle(self) -> None:
        self._cached = upkeep.settle(self.path, self._cached, self._models.probes()) or self._cached

    @contextmanager
    def _writing(self) -> Generator[Writer, None, None]:
        make_folder(self.path)
        with writer_lock(self.path):
            writer = Writer.open_to_write(self.path)
            try:
                yield writer
            finally:
                writer.close()

"""The place of a library in Milvus (``vlar.index.backends.Backend``)."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager

from vlar.errors import LibraryError, UsageError
from vlar.index.address import MilvusAddress
from vlar.index.engines.base import Probes
from vlar.index.maintenance.compact import CompactReport
from vlar.index.maintenance.upgrade import UpgradeProgress, UpgradeReport
from vlar.index.maintenance.verify import LibraryFault
from vlar.index.manifest import LibraryManifest
from vlar.index.milvus import indexes
from vlar.index.milvus.client import MilvusConnection
from vlar.index.milvus.engine import MilvusEngine
from vlar.index.milvus.layout import Layout, created, opened, width_of
from vlar.index.milvus.lease import leased
from vlar.index.milvus.repair import compacted, repaired
from vlar.index.milvus.store import MilvusStore
from vlar.index.milvus.upkeep import describe, verify
from vlar.index.milvus.writer import MilvusWriter
from vlar.index.protocol import LibraryModel
from vlar.index.report import LibraryInfo
from vlar.index.search_cache.cache import Origin, SearchCache
from vlar.index.store.damage import line_of

_log = logging.getLogger("vlar")


class MilvusBackend:
    """A library in Milvus.

    Args:
        place: Its address.
    """

    def __init__(self, place: MilvusAddress) -> None:
        self._place = place
        self._layout = Layout(place.name)
        self._checked: MilvusConnection | None = None

    @property
    def address(self) -> str:
        """Address as the user wrote it."""
        return str(self._place)

    @property
    def is_shared(self) -> bool:
        """Return whether other processes may open it too: Milvus Lite allows one."""
        return not self._place.embedded

    def check(self, create: bool) -> None:
        """Refuse an address where no Milvus answers, or no library is and none may be made."""
        connection = MilvusConnection(self._place)
        try:
            there = bool(opened(connection, self._layout))
        except BaseException:
            connection.close()
            raise
        if there or create:
            self._checked = connection  # ``reader`` comes next
            return
        connection.close()
        raise LibraryError(
            f"library {self._place} does not exist; create it: vlar index add {self._place} VIDEOS"
        )

    def reader(self) -> MilvusStore | None:
        """A connection for reads; None before the first commit."""
        checked, self._checked = self._checked, None
        connection = checked or MilvusConnection(self._place)
        try:
            library_id = opened(connection, self._layout)
            if library_id and width_of(connection, self._layout) is not None:
                return MilvusStore(connection, self._layout, library_id)
        except BaseException:
            connection.close()
            raise
        connection.close()
        return None

    @contextmanager
    def writing(self) -> Generator[MilvusWriter, None, None]:
        """The writer, with the lease held; collections are created where they are absent."""
        connection = MilvusConnection(self._place)
        try:
            library_id = opened(connection, self._layout) or created(connection, self._layout)
            with leased(connection, self._layout) as lease:
                writer = MilvusWriter(connection, self._layout, library_id, lease)
                try:
                    yield writer
                finally:
                    writer.finish()
        finally:
            connection.close()

    @contextmanager
    def lock(self) -> Generator[None, None, None]:
        """The lease alone."""
        connection = MilvusConnection(self._place)
        try:
            if opened(connection, self._layout):
                with leased(connection, self._layout):
                    yield
            else:
                yield
        finally:
            connection.close()

    def repair_lock(self) -> None:
        """Nothing: a lease that nobody renews expires."""

    def settle(self, current: SearchCache | None, probes: Probes | None) -> SearchCache | None:
        """After a change: recommend another index where one would be faster."""
        del current, probes
        connection = MilvusConnection(self._place)
        try:
            if not connection.is_lite and width_of(connection, self._layout) is not None:
                index = indexes.name_of(connection.index_facts(self._layout.rows, "vector"))
                rows = connection.count(self._layout.rows, "id > 0")
                if indexes.is_due(index, rows, connection.is_lite):
                    better = indexes.recommended(rows, connection.is_lite)
                    _log.info(
                        "%s has %d rows and the index %s; %s is faster: vlar index compact %s "
                        "--type %s", self._place, rows, index, better, self._place, better,
                    )  # fmt: skip
        finally:
            connection.close()
        return None

    def info(self, store: MilvusStore | None) -> LibraryInfo:
        """Facts of the library."""
        if store is not None:
            return describe(store.connection, self._layout, store)
        connection = MilvusConnection(self._place)
        try:
            return describe(connection, self._layout, None)
        finally:
            connection.close()

    def search_cache(
        self, store: MilvusStore, current: SearchCache | None, probes: Probes | None
    ) -> SearchCache:
        """Search engine over the view of the snapshot."""
        del current, probes
        manifest, view = LibraryManifest.of(store), store.view()
        dim = 0 if manifest is None else manifest.dim
        name = indexes.name_of(store.connection.index_facts(self._layout.rows, "vector"))
        engine = MilvusEngine(store.rows_read, dim, name, {"index": name})
        return SearchCache(engine, Origin(store.library_id, view.number, dim), view.number)

    def rebuilt_cache(self, store: MilvusStore, probes: Probes | None) -> SearchCache:
        """The same: Milvus keeps its index itself."""
        return self.search_cache(store, None, probes)

    def note_damage(self, store: MilvusStore, found: SearchCache) -> None:
        """Nothing: Milvus holds every row that there is."""

    def damage_line(self, store: MilvusStore) -> str | None:
        """One line about the rows in ``store.damaged``; None without any."""
        return line_of(store.address, store.damaged)

    def verify(self, store: MilvusStore, files: bool) -> Iterator[LibraryFault]:
        """All faults."""
        return verify(store, store.connection, self._layout, store.catalog(), files)

    def repaired(self, writer: MilvusWriter, fault: LibraryFault) -> LibraryFault:
        """A fault after its repair."""
        return repaired(writer, fault)

    def compact(
        self, writer: MilvusWriter, probes: Probes | None, retrain: bool, engine: str | None
    ) -> CompactReport:
        """Merge segments, and build the index that is asked for or that suits the rows."""
        del probes
        rows = writer.counts()[1]
        return compacted(writer.connection, self._layout, rows, retrain, engine)

    def upgrade(
        self, model: LibraryModel | None, progress: UpgradeProgress | None
    ) -> UpgradeReport:
        """Refused: only a folder is brought up to date.

        Raises:
            UsageError: always; the message has the way around.
        """
        del model, progress
        raise UsageError(
            f"{self._place} is a library in Milvus, which is not brought up to date in place; copy "
            f"it, upgrade the copy and copy it back: vlar index copy {self._place} FOLDER.vlar; "
            "vlar index upgrade FOLDER.vlar; vlar index copy FOLDER.vlar NEW_ADDRESS"
        )

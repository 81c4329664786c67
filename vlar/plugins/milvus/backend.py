"""The place of a library in Milvus (``vlar.library.backends.Backend``)."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import LibraryError, UsageError
from vlar.library.address import MilvusAddress
from vlar.library.cache import Origin, SearchCache
from vlar.library.compact import CompactReport, bytes_on_disk, facts_of
from vlar.library.engines.base import Engine, Probes
from vlar.library.manifest import LibraryManifest
from vlar.library.protocol import LibraryModel
from vlar.library.rows import (
    Float16,
    Int64,
    LibraryInfo,
    RowFilter,
    RowSource,
    RowTable,
    UpgradeReport,
)
from vlar.library.store.base import LibraryStore
from vlar.library.store.damage import line_of
from vlar.library.store.schema import READ_AGAIN
from vlar.library.upgrade import UpgradeProgress
from vlar.library.verify import LibraryFault, again, changed_files
from vlar.plugins.milvus import layout
from vlar.plugins.milvus import layout as indexes
from vlar.plugins.milvus.catalog import Catalog
from vlar.plugins.milvus.client import MOST_HITS, MilvusConnection, listed
from vlar.plugins.milvus.layout import (
    FORMAT,
    CollectionNames,
    created,
    opened,
    search_params,
    width_of,
)
from vlar.plugins.milvus.lease import leased
from vlar.plugins.milvus.rows import Rows
from vlar.plugins.milvus.serialization import CONTEXT
from vlar.plugins.milvus.store import MilvusStore
from vlar.plugins.milvus.writer import MilvusWriter
from vlar.registry import register
from vlar.types import Float32

_ALL = RowFilter()


class MilvusEngine(Engine):
    """Searches the rows of one state.

    Args:
        rows: Gives what reads them in the present snapshot.
        dim: D.
        index: Name of the index that Milvus has.
        facts: For ``vlar index info``.
    """

    name = "milvus"
    exact = False
    rows = None
    why = "Milvus searches"
    is_near = False

    def __init__(
        self, rows: Callable[[], Rows], dim: int, index: str, facts: Mapping[str, Any]
    ) -> None:
        self._read, self._dim, self._index, self.facts = rows, dim, index, facts

    @classmethod
    def build(cls, source: RowSource, probes: Probes | None) -> MilvusEngine:
        """Raise NotImplementedError: Milvus holds the rows already."""
        raise NotImplementedError

    def add(self, table: RowTable, vectors: Float16) -> None:
        """Do nothing: Milvus has the rows already."""

    def delete(self, ids: Int64) -> None:
        """Do nothing: Milvus has deleted the rows already."""

    def search(
        self, query: Float32, k: int, allowed: RowFilter | None = None
    ) -> tuple[Int64, Float32]:
        """Ids and inner products of rows that include the best ``k``, best first."""
        wanted = allowed or _ALL
        if k <= MOST_HITS:
            params = search_params(self._index, k)
            ids, scores = self._read().search(query, k, wanted, params)
            if len(ids) == k or len(ids) == self._read().count(wanted):
                return ids, scores
        return self._compared(query, k, wanted)

    def _compared(self, query: Float32, k: int, allowed: RowFilter) -> tuple[Int64, Float32]:
        """The best of all rows that pass, compared a batch at a time."""
        ids, scores = np.empty(0, np.int64), np.empty(0, np.float32)
        for batch in self._read().scan(self._dim, allowed):
            ids = np.concatenate([ids, batch.ids])
            scores = np.concatenate([scores, batch.wide @ query])
            order = np.argsort(-scores, kind="stable")[:k]
            ids, scores = ids[order], scores[order]
        return ids, scores

    def ids(self, allowed: RowFilter | None = None) -> Int64:
        """Ids of the rows that pass a filter, in rising order."""
        pages = self._read().times(allowed or _ALL)
        return np.sort(np.array([row["id"] for page in pages for row in page], np.int64))

    def count(self, allowed: RowFilter | None = None) -> int:
        """Number of the rows that pass a filter."""
        return self._read().count(allowed or _ALL)

    @property
    def last_id(self) -> int:
        """Return 0: no row waits to be added."""
        return 0


_NAMED = 5  # rows of one recording that a message names
_AT_ONCE = 512


def describe(
    connection: MilvusConnection, layout: CollectionNames, store: MilvusStore | None
) -> LibraryInfo:
    """Facts about a library; ``store`` is None before the first commit."""
    address, rows = connection.address, 0 if store is None else store.counts()[1]
    every = [] if store is None else list(store.catalog().all().values())
    facts = {} if store is None else connection.index_facts(layout.rows, "vector")
    index = indexes.name_of(facts)
    why = f"Milvus {connection.version} searches, with the index {index}"
    if indexes.is_due(index, rows, connection.is_lite):
        better = indexes.recommended(rows, connection.is_lite)
        why += f"; {better} would be faster: vlar index compact {address} --type {better}"
    return facts_of(
        str(address),
        store,
        bytes_on_disk=bytes_of(connection),
        engine=f"milvus {index}",
        engine_why=why,
        cache_state="absent" if store is None else "fresh",
        engine_facts=facts,
        waiting_added=0,
        waiting_deleted=0,
        format=FORMAT,
        context_rows=sum(each.contexts for each in every),
        context_bytes=sum(each.context_bytes for each in every),
    )


def bytes_of(connection: MilvusConnection) -> int:
    """Bytes of an embedded folder with all its files; 0 for a server, which reports none."""
    if not connection.address.embedded:
        return 0
    folder = Path(connection.address.uri)
    return sum(bytes_on_disk(each) for each in (folder, *folder.rglob("*")) if each.is_dir())


def verify(
    store: LibraryStore,
    connection: MilvusConnection,
    layout: CollectionNames,
    catalog: Catalog,
    files: bool,
) -> Iterator[LibraryFault]:
    """All faults of a library. Use inside ``store.snapshot()``."""
    try:
        manifest = LibraryManifest.of(store)
    except LibraryError as error:
        yield LibraryFault("manifest", store.address, error.message)
        return
    if manifest is None:
        return
    width = int(connection.fields(layout.rows)["vector"].get("dim", 0))
    if width != manifest.dim:
        message = (
            f"{store.address}: vectors of width {width}, the manifest states {manifest.dim}; copy "
            "the library from its source again"
        )
        yield LibraryFault("manifest", store.address, message)
        return
    store.damaged.clear()
    counted: dict[int, int] = defaultdict(int)
    for batch in store.scan(manifest.dim, _ALL):
        for video_id, count in zip(*np.unique(batch.video_ids, return_counts=True), strict=True):
            counted[int(video_id)] += int(count)
    yield from _damaged_rows(store, connection, layout, catalog)
    yield from _wrong_counts(store, catalog, counted)
    yield from _contexts(store, catalog)
    if files:
        yield from changed_files(store.address, store.recordings())


def _damaged_rows(
    store: LibraryStore, connection: MilvusConnection, layout: CollectionNames, catalog: Catalog
) -> Iterator[LibraryFault]:
    """The rows that the scan left out, by recording."""
    damaged = dict(store.damaged)
    fields = ["id", "video_id", "start_s", "end_s"]
    by_video: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for each in connection.get(layout.rows, sorted(damaged), fields):
        span = f"{each['start_s']:g} to {each['end_s']:g} s"
        place = f"row {each['id']} ({span}: {damaged[each['id']]})"
        by_video[int(each["video_id"])].append((int(each["id"]), place))
    for video_id, places in by_video.items():
        recording = catalog.get(video_id)
        name = f"recording {video_id}" if recording is None else recording.path
        how = "--repair deletes them" if recording is None else again(store.address, name)
        more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        named = ", ".join(place for _, place in places[:_NAMED])
        ids = tuple(row_id for row_id, _ in places)
        yield LibraryFault("row", name, f"{name}: {named}{more}; {how}", ids=ids)


def _wrong_counts(
    store: LibraryStore, catalog: Catalog, counted: Mapping[int, int]
) -> Iterator[LibraryFault]:
    """Recordings with fewer or more rows than were committed, damaged ones left out."""
    for video_id, recording in catalog.all().items():
        found = counted.get(video_id, 0)
        found += sum(recording.owns(row_id) for row_id in store.damaged)
        if found == recording.rows and recording.rows:
            continue
        how = again(store.address, recording.path)
        message = f"{recording.path}: {found} rows of {recording.rows} are there; {how}"
        kind = "empty" if not found else "incomplete"
        yield LibraryFault(kind, recording.path, message, ids=(video_id,))


def _contexts(store: LibraryStore, catalog: Catalog) -> Iterator[LibraryFault]:
    for recording in catalog.all().values():
        if not recording.contexts:
            continue
        store.damaged.clear()
        pages = list(recording.row_ids())
        found = sum(
            len(store.contexts(pages[at : at + _AT_ONCE])[0])
            for at in range(0, len(pages), _AT_ONCE)
        )
        bad = sorted(store.damaged)
        if bad or found < recording.contexts:
            lost = recording.contexts - found
            message = (
                f"{recording.path}: {lost} contexts of {recording.contexts} have changed or are "
                f"gone; {again(store.address, recording.path)}"
            )
            yield LibraryFault("context", recording.path, message, ids=tuple(bad))


def repaired(writer: MilvusWriter, fault: LibraryFault) -> LibraryFault:
    """The fault after its repair: with ``repaired`` where it is gone, and what remains to do.

    Damaged rows are deleted, and their recordings are marked: the next ``vlar index add`` of them
    reads the files again.
    """
    if fault.kind not in ("row", "context", "empty", "incomplete"):
        return fault
    recording = writer.at_path(fault.path)
    video_id = None if recording is None else recording.id
    with writer.transaction():
        if fault.kind == "row":
            writer.connection.delete(writer.layout.rows, fault.ids)
            if video_id is not None:
                writer.rows_deleted(video_id, len(fault.ids))
        if fault.kind == "context":
            where = f'kind == "{CONTEXT}" and row_id in {listed(fault.ids)}'
            writer.connection.delete_where(writer.layout.blobs, where)
        if video_id is None:
            return replace(fault, repaired=True)
        writer.read_again(video_id, READ_AGAIN)
    how = "its file is gone: bring it back and add it again"
    if Path(fault.path).exists():
        how = f"read it again: vlar index add {writer.address} {fault.path}"
    message = f"{fault.path}: {fault.kind} repaired; {how}"
    return replace(fault, repaired=fault.kind in ("row", "context"), message=message)


def compacted(
    connection: MilvusConnection,
    layout: CollectionNames,
    rows: int,
    retrain: bool,
    kind: str | None,
) -> CompactReport:
    """Build the index that is asked for, merge segments; readers wait while an index is built.

    Args:
        connection: To Milvus.
        layout: Of the library.
        rows: Number of rows.
        retrain: Build the index again.
        kind: Name of the index; ``auto`` for the one that suits the rows, None for no other one.
    """
    before = bytes_of(connection)
    there = layout.rows in connection.collections()
    index = indexes.name_of(connection.index_facts(layout.rows, "vector")) if there else "flat"
    wanted = index
    if kind == indexes.AUTO:
        wanted = indexes.recommended(rows, connection.is_lite)
    elif kind is not None:
        wanted = indexes.checked(kind, connection.is_lite)
    built = there and (retrain or wanted != index)
    if there:
        connection.flush(layout.rows)
    if built:
        connection.drop_index(layout.rows, "vector")
        params = indexes.build_params(wanted, rows)
        connection.index(layout.rows, [{"field_name": "vector", **params}])
    for name in (layout.records, layout.blobs, *([layout.rows] if there else [])):
        connection.compact(name)
    after = bytes_of(connection)
    return CompactReport(rows, 0, before, after, f"milvus {wanted}", bool(built))


_log = logging.getLogger("vlar")


@register("backend", "milvus")
class MilvusBackend:
    """A library in Milvus.

    Args:
        place: Its address.
    """

    def __init__(self, place: MilvusAddress) -> None:
        self._place = place
        self._layout = CollectionNames(place.name)
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
        """Do nothing: a lease that nobody renews expires."""

    def settle(self, current: SearchCache | None, probes: Probes | None) -> SearchCache | None:
        """Recommend another index after a change where one would be faster."""
        del current, probes
        connection = MilvusConnection(self._place)
        try:
            if not connection.is_lite and width_of(connection, self._layout) is not None:
                index = layout.name_of(connection.index_facts(self._layout.rows, "vector"))
                rows = connection.count(self._layout.rows, "id > 0")
                if layout.is_due(index, rows, connection.is_lite):
                    better = layout.recommended(rows, connection.is_lite)
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
        name = layout.name_of(store.connection.index_facts(self._layout.rows, "vector"))
        engine = MilvusEngine(store.rows_read, dim, name, {"index": name})
        return SearchCache(engine, Origin(store.library_id, view.number, dim), view.number)

    def rebuilt_cache(self, store: MilvusStore, probes: Probes | None) -> SearchCache:
        """The same: Milvus keeps its index itself."""
        return self.search_cache(store, None, probes)

    def note_damage(self, store: MilvusStore, found: SearchCache) -> None:
        """Do nothing: Milvus holds every existing row."""

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

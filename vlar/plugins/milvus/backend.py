"""The place of a library in Milvus (``vlar.library.backends.Backend``)."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlar.errors import LibraryError
from vlar.library.backends import Backend
from vlar.library.cache import Origin, SearchCache
from vlar.library.engines.base import Engine, Probes
from vlar.library.maintain.compact import CompactReport, bytes_on_disk, facts_of
from vlar.library.maintain.upgrade import UpgradeRequest
from vlar.library.maintain.verify import LibraryFault, again, changed_files, row_fault
from vlar.library.manifest import LibraryManifest
from vlar.library.rows import (
    Float16,
    Int64,
    LibraryInfo,
    RowFilter,
    RowSource,
    RowTable,
    UpgradeReport,
)
from vlar.model.library_model import LibraryModel
from vlar.plugins.milvus import layout
from vlar.plugins.milvus.address import MilvusAddress, address_of
from vlar.plugins.milvus.client import MOST_HITS, MilvusConnection, listed
from vlar.plugins.milvus.layout import FORMAT, created, opened, search_params, width_of
from vlar.plugins.milvus.lease import leased
from vlar.plugins.milvus.rows import Rows
from vlar.plugins.milvus.serialization import CONTEXT
from vlar.plugins.milvus.store import MilvusStore
from vlar.plugins.milvus.writer import MilvusWriter
from vlar.registry import register
from vlar.types import Float32

if TYPE_CHECKING:
    from vlar.plugins.milvus.change import MilvusChange

_ALL = RowFilter()
_AT_ONCE = 512
_log = logging.getLogger("vlar")


class MilvusEngine(Engine):
    """Searches the rows of one state."""

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
        row_filter = allowed or _ALL
        if k <= MOST_HITS:
            params = search_params(self._index, k)
            ids, scores = self._read().search(query, k, row_filter, params)
            if len(ids) == k or len(ids) == self._read().count(row_filter):
                return ids, scores
        return self._compared(query, k, row_filter)

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
        pages = self._read().times(allowed or _ALL)
        return np.sort(np.array([row["id"] for page in pages for row in page], np.int64))

    def count(self, allowed: RowFilter | None = None) -> int:
        return self._read().count(allowed or _ALL)

    @property
    def last_id(self) -> int:
        """Return 0: no row waits to be added."""
        return 0


@register("backend", "milvus")
class MilvusBackend(Backend[MilvusStore, MilvusWriter]):
    """A library in Milvus."""

    address = staticmethod(address_of)

    @classmethod
    def example(cls, folder: Path) -> str:
        """A library of Milvus Lite, whose file is in the folder."""
        return f"milvus:{folder / 'm.db'}/l"

    def __init__(self, place: MilvusAddress) -> None:
        self._place = place
        self._checked: MilvusConnection | None = None

    @property
    def is_shared(self) -> bool:
        """Return whether other processes may open it too: Milvus Lite allows one."""
        return not self._place.embedded

    def check(self, create: bool) -> None:
        """Refuse an address where no Milvus answers, or no library is and none may be made."""
        connection = MilvusConnection(self._place)
        try:
            is_open = bool(opened(connection))
        except BaseException:
            connection.close()
            raise
        if is_open or create:
            self._checked = connection  # ``reader`` comes next
            return
        connection.close()
        raise LibraryError(
            f"library {self._place} does not exist; create it: vlar index add {self._place} VIDEOS"
        )

    def reader(self) -> MilvusStore | None:
        checked, self._checked = self._checked, None
        connection = checked or MilvusConnection(self._place)
        try:
            library_id = opened(connection)
            if library_id and width_of(connection) is not None:
                return MilvusStore(connection, library_id)
        except BaseException:
            connection.close()
            raise
        connection.close()
        return None

    @contextmanager
    def writing(self) -> Generator[MilvusWriter, None, None]:
        with self._changing() as (writer, change):
            change.clear()  # of a run that was killed
            yield writer

    @contextmanager
    def _changing(self) -> Generator[tuple[MilvusWriter, MilvusChange], None, None]:
        from vlar.plugins.milvus.change import MilvusChange  # no query needs it

        with closing(MilvusConnection(self._place)) as connection:
            library_id = opened(connection) or created(connection)
            with leased(connection) as lease:
                writer = MilvusWriter(connection, library_id, lease)
                try:
                    yield writer, MilvusChange(writer)
                finally:
                    writer.finish()

    @contextmanager
    def lock(self) -> Generator[None, None, None]:
        with (
            closing(MilvusConnection(self._place)) as connection,
            leased(connection) if opened(connection) else nullcontext(),
        ):
            yield

    def settle(self, current: SearchCache | None, probes: Probes | None) -> SearchCache | None:
        """Recommend another index after a change where one would be faster."""
        with closing(MilvusConnection(self._place)) as connection:
            if connection.is_lite or not opened(connection) or width_of(connection) is None:
                return
            index = index_of(connection)
            rows = connection.count(connection.rows, "id > 0")
            if layout.is_due(index, rows, connection.is_lite):
                better = layout.recommended(rows, connection.is_lite)
                _log.info(
                    "%s has %d rows and the index %s; %s is faster: vlar index compact %s "
                    "--type %s",
                    self._place,
                    rows,
                    index,
                    better,
                    self._place,
                    better,
                )

    def info(self, store: MilvusStore | None) -> LibraryInfo:
        if store is None:
            with closing(MilvusConnection(self._place)) as connection:
                return _info(connection, None)
        return _info(store.connection, store)

    def search_cache(
        self, store: MilvusStore, current: SearchCache | None, probes: Probes | None
    ) -> SearchCache:
        """Search engine over the view of the snapshot."""
        manifest, view = LibraryManifest.of(store), store.view()
        dim = 0 if manifest is None else manifest.dim
        name = index_of(store.connection)
        engine = MilvusEngine(store.rows_read, dim, name, {"index": name})
        return SearchCache(engine, Origin(store.library_id, view.number, dim), view.number)

    def rebuilt_cache(self, store: MilvusStore, probes: Probes | None) -> SearchCache:
        """The same: Milvus keeps its index itself."""
        return self.search_cache(store, None, probes)

    def verify(self, store: MilvusStore, files: bool) -> Iterator[LibraryFault]:
        try:
            manifest = LibraryManifest.of(store)
        except LibraryError as error:
            yield LibraryFault("manifest", store.address, error.message)
            return
        if manifest is None:
            return
        width = width_of(store.connection)
        if width != manifest.dim:
            message = (
                f"{store.address}: vectors of width {width}, the manifest states {manifest.dim}; "
                "copy the library from its source again"
            )
            yield LibraryFault("manifest", store.address, message)
            return
        store.damaged.clear()
        counted: dict[int, int] = defaultdict(int)
        for batch in store.scan(manifest.dim, _ALL):
            for owner, count in zip(*np.unique(batch.video_ids, return_counts=True), strict=True):
                counted[int(owner)] += int(count)
        yield from _damaged_rows(store)
        yield from _wrong_counts(store, counted)
        yield from _contexts(store)
        if files:
            yield from changed_files(store.address, store.recordings())

    def repaired(self, writer: MilvusWriter, fault: LibraryFault) -> LibraryFault:
        """The fault after its repair: with ``repaired`` where it is gone, and what remains to do.

        Damaged rows are deleted, and their recordings are marked: the next ``vlar index add`` of
        them reads the files again.
        """
        if fault.kind not in ("row", "context", "empty", "incomplete"):
            return fault
        recording, connection = writer.at_path(fault.path), writer.connection
        with writer.transaction():
            if fault.kind == "row":
                connection.delete(connection.rows, fault.ids)
                if recording is not None:
                    writer.rows_deleted(recording.id, len(fault.ids))
            if fault.kind == "context":
                where = f'kind == "{CONTEXT}" and row_id in {listed(fault.ids)}'
                connection.delete_where(connection.blobs, where)
            if recording is None:
                return replace(fault, repaired=True)
            writer.read_again(fault.path)
        how = "its file is gone: bring it back and add it again"
        if Path(fault.path).exists():
            how = f"read it again: vlar index add {writer.address} {fault.path}"
        message = f"{fault.path}: {fault.kind} repaired; {how}"
        return replace(fault, repaired=fault.kind in ("row", "context"), message=message)

    def compact(
        self, writer: MilvusWriter, probes: Probes | None, retrain: bool, engine: str | None
    ) -> CompactReport:
        """Merge segments, and build the index that is asked for; readers wait meanwhile.

        ``engine`` is the name of an index, ``auto`` for the one that suits the rows.
        """
        connection, rows = writer.connection, writer.counts()[1]
        before = bytes_of(connection)
        has_rows = connection.rows in connection.collections()
        kind = index = index_of(connection) if has_rows else "flat"
        if engine == layout.AUTO:
            kind = layout.recommended(rows, connection.is_lite)
        elif engine is not None:
            kind = layout.checked(engine, connection.is_lite)
        built = has_rows and (retrain or kind != index)
        if has_rows:
            connection.flush(connection.rows)
        if built:
            connection.drop_index(connection.rows, "vector")
            params = layout.build_params(kind, rows)
            connection.index(connection.rows, [{"field_name": "vector", **params}])
        for name in (
            connection.records,
            connection.blobs,
            *([connection.rows] if has_rows else []),
        ):
            connection.compact(name)
        after = bytes_of(connection)
        return CompactReport(rows, 0, before, after, f"milvus {kind}", built)

    def upgrade(self, model: LibraryModel | None, request: UpgradeRequest) -> UpgradeReport:
        self.check(create=False)
        if self._checked is not None:
            self._checked.close()
            self._checked = None
        from vlar.library.maintain.lazy_upgrade import upgraded

        with self._changing() as (writer, change):
            return upgraded(writer, change, model, request)


def index_of(connection: MilvusConnection) -> str:
    """The name of the index that Milvus has over the vectors."""
    return layout.name_of(connection.index_facts(connection.rows, "vector"))


def _info(connection: MilvusConnection, store: MilvusStore | None) -> LibraryInfo:
    """Facts about a library; ``store`` is None before the first commit."""
    address, rows = connection.address, 0 if store is None else store.counts()[1]
    every = [] if store is None else list(store.catalog().all().values())
    facts = {} if store is None else connection.index_facts(connection.rows, "vector")
    index = layout.name_of(facts)
    why = f"Milvus {connection.version} searches, with the index {index}"
    if layout.is_due(index, rows, connection.is_lite):
        better = layout.recommended(rows, connection.is_lite)
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
        format=FORMAT if connection.has_marks else 1,
        context_rows=sum(record.contexts for record in every),
        context_bytes=sum(record.context_bytes for record in every),
    )


def bytes_of(connection: MilvusConnection) -> int:
    """Bytes of an embedded folder with all its files; 0 for a server, which reports none."""
    if not connection.address.embedded:
        return 0
    folder = Path(connection.address.uri)
    return sum(bytes_on_disk(file) for file in (folder, *folder.rglob("*")) if file.is_dir())


def _damaged_rows(store: MilvusStore) -> Iterator[LibraryFault]:
    """The rows that the scan left out, by recording."""
    damaged = dict(store.damaged)
    fields = ["id", "video_id", "start_s", "end_s"]
    by_video: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for entity in store.connection.get(store.connection.rows, sorted(damaged), fields):
        span = f"{entity['start_s']:g} to {entity['end_s']:g} s"
        subject = f"row {entity['id']} ({span}: {damaged[entity['id']]})"
        by_video[int(entity["video_id"])].append((int(entity["id"]), subject))
    for video_id, places in by_video.items():
        recording = store.catalog().get(video_id)
        path = None if recording is None else recording.path
        yield row_fault(store.address, video_id, path, places)


def _wrong_counts(store: MilvusStore, counted: Mapping[int, int]) -> Iterator[LibraryFault]:
    """Recordings with fewer or more rows than were committed, damaged ones left out."""
    for video_id, recording in store.catalog().all().items():
        count = counted.get(video_id, 0)
        count += sum(recording.owns(row_id) for row_id in store.damaged)
        if count == recording.rows and recording.rows:
            continue
        how = again(store.address, recording.path)
        message = f"{recording.path}: {count} rows of {recording.rows} are there; {how}"
        kind = "empty" if not count else "incomplete"
        yield LibraryFault(kind, recording.path, message, ids=(video_id,))


def _contexts(store: MilvusStore) -> Iterator[LibraryFault]:
    for recording in store.catalog().all().values():
        if not recording.contexts:
            continue
        store.damaged.clear()
        pages = list(recording.row_ids())
        count = sum(
            len(store.contexts(pages[start : start + _AT_ONCE])[0])
            for start in range(0, len(pages), _AT_ONCE)
        )
        bad = sorted(store.damaged)
        if bad or count < recording.contexts:
            lost = recording.contexts - count
            message = (
                f"{recording.path}: {lost} contexts of {recording.contexts} have changed or are "
                f"gone; {again(store.address, recording.path)}"
            )
            yield LibraryFault("context", recording.path, message, ids=tuple(bad))

"""Facts and faults of a library in Milvus."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from vlar.errors import LibraryError
from vlar.index.maintenance.info import bytes_on_disk, facts_of
from vlar.index.maintenance.verify import LibraryFault, again, changed_files
from vlar.index.manifest import LibraryManifest
from vlar.index.milvus import indexes
from vlar.index.milvus.catalog import Catalog
from vlar.index.milvus.client import MilvusConnection
from vlar.index.milvus.layout import FORMAT, Layout
from vlar.index.milvus.store import MilvusStore
from vlar.index.report import LibraryInfo
from vlar.index.rows import RowFilter
from vlar.index.store.base import LibraryStore

_NAMED = 5  # rows of one recording that a message names
_AT_ONCE = 512
_ALL = RowFilter()


def describe(
    connection: MilvusConnection, layout: Layout, store: MilvusStore | None
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
    """Bytes of an embedded folder with everything in it; 0 for a server, which does not tell."""
    if not connection.address.embedded:
        return 0
    folder = Path(connection.address.uri)
    return sum(bytes_on_disk(each) for each in (folder, *folder.rglob("*")) if each.is_dir())


def verify(
    store: LibraryStore, connection: MilvusConnection, layout: Layout, catalog: Catalog, files: bool
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
            f"{store.address}: vectors of width {width}, the manifest says {manifest.dim}; copy "
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
    store: LibraryStore, connection: MilvusConnection, layout: Layout, catalog: Catalog
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

"""Keep a library fast and small: merge changes into the search cache, compact the files."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlar import registry
from vlar.library import cache
from vlar.library.engines.base import Probes
from vlar.library.manifest import LibraryManifest
from vlar.library.rows import LibraryInfo
from vlar.library.store import schema
from vlar.library.store.base import LibraryStore
from vlar.library.store.sqlite import SqliteStore
from vlar.library.store.writer import SqliteWriter
from vlar.types import JsonDict


def describe(folder: Path, store: SqliteStore | None) -> LibraryInfo:
    """Facts about a library; ``store`` is None before the first write."""
    rows = 0 if store is None else store.counts()[1]
    name, why = cache.choose(rows) if store is None else cache.chosen(store)
    state, stored = "absent", None
    if store is not None and LibraryManifest.of(store) is not None:
        state, stored = cache.state(store)
    query = "SELECT count(*), total(length(tokens)) FROM contexts"
    contexts, size = (0, 0) if store is None else store.fetch(query)[0]
    return facts_of(
        str(folder),
        store,
        bytes_on_disk=bytes_on_disk(folder) if store is None else _with_cache(store),
        engine=name,
        engine_why=why,
        cache_state=state,
        engine_facts={} if stored is None else dict(stored.engine.facts),
        waiting_added=0 if stored is None else stored.engine.added,
        waiting_deleted=0 if stored is None else stored.engine.deleted,
        format=schema.SCHEMA_VERSION,
        context_rows=int(contexts),
        context_bytes=int(size),
    )


def facts_of(path: str, store: LibraryStore | None, **search: Any) -> LibraryInfo:
    """Contents and model of a library, with the facts of its search."""
    videos, rows, duration_s = (0, 0, 0.0) if store is None else store.counts()
    manifest = None if store is None else LibraryManifest.of(store)
    persons = (manifest.persons or None) if manifest else None
    return LibraryInfo(
        path=path,
        videos=videos,
        rows=rows,
        duration_s=duration_s,
        model=manifest.model if manifest else None,
        fingerprint=manifest.fingerprint if manifest else None,
        dim=manifest.dim if manifest else None,
        modality=manifest.modality if manifest else None,
        window_s=manifest.spec.window_s if manifest else None,
        stride_s=manifest.spec.stride_s if manifest else None,
        n_frames=manifest.spec.sampling.n_frames if manifest else None,
        tag_keys=tuple(store.tag_keys()) if store else (),
        persons=persons,
        person_rows=len(store.ids_of(people=True)) if store and persons else 0,
        mapped_rows=len(store.mapped()) if store else 0,
        learned_from=manifest.mapping.learned_from if manifest and manifest.mapping else "",
        **search,
    )


def bytes_on_disk(folder: Path) -> int:
    """Bytes of all files of a library."""
    total = 0
    with suppress(OSError):
        for entry in folder.iterdir():
            with suppress(OSError):  # SQLite may delete a log meanwhile
                total += entry.stat().st_size
    return total


def _with_cache(store: SqliteStore) -> int:
    """Bytes of all files of a library, and of its search cache."""
    total = bytes_on_disk(store.file.parent)
    with suppress(OSError):
        total += cache.file_of(store).stat().st_size
    return total


@dataclass(frozen=True)
class CompactReport:
    """Report of a ``compact``. ``trained``: whether the search engine was built again."""

    rows: int
    tombstones: int
    bytes_before: int
    bytes_after: int
    engine: str
    trained: bool

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return asdict(self)


def settle(
    folder: Path, current: cache.SearchCache | None, probes: Probes | None
) -> cache.SearchCache | None:
    """Build or update the cache of a large library after a change, so that no query waits.

    Returns None for a library that exact search serves.
    """
    store = SqliteStore.open_to_read(folder)
    if store is None:
        return None
    with closing(store), store.snapshot():
        if "dim" not in store.meta() or cache.chosen(store)[0] == "flat":
            return None
        return cache.refresh(store, current, probes)


def compact(
    writer: SqliteWriter,
    probes: Probes | None,
    retrain: bool,
    engine: str | None,
) -> CompactReport:
    """Merge every change into the cache, drop the tombstones, give free space back to the disk.

    The arguments are those of ``Library.compact``; the caller holds the writer's lock. The order
    matters, so that a killed ``compact`` leaves a valid cache: a cache made now needs no older
    tombstone, and one made before is refused.
    """
    before = _with_cache(writer)
    if engine is not None:
        _request(writer, engine)
    with writer.snapshot():
        rows, filled, name = writer.row_count(), "dim" in writer.meta(), cache.chosen(writer)[0]
        stored = cache.read(cache.file_of(writer)) if filled and not retrain else None
        merged, trained = cache.merge(writer, stored, probes) if filled else (None, False)
    with writer.transaction():
        dropped = len(writer.dead_ids())
        if merged is not None:
            writer.set_meta({"compacted_at": str(merged.made_at)})
        writer.connection.execute("DELETE FROM tombstones")
    with schema.guard(writer.file, "compact"):
        writer.connection.execute("VACUUM")
        writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return CompactReport(rows, dropped, before, _with_cache(writer), name, trained)


def _request(writer: SqliteWriter, engine: str) -> None:
    with writer.transaction():
        if engine == "auto":
            writer.connection.execute("DELETE FROM meta WHERE key = ?", (cache.REQUESTED_KEY,))
            return
        if engine not in registry.names("engine"):
            raise registry.unknown_name("index type", engine, [*registry.names("engine"), "auto"])
        writer.set_meta({cache.REQUESTED_KEY: engine})

"""Keep a library fast and small: merge changes into the search cache, compact the files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from vlar import registry
from vlar.index.engines.base import Probes
from vlar.index.maintenance.info import bytes_on_disk
from vlar.index.search_cache import cache, cache_file
from vlar.index.store import schema
from vlar.index.store.sqlite import SqliteStore
from vlar.index.store.writer import SqliteWriter
from vlar.types import JsonDict


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
    """After a change: build or update the cache of a large library, so that no query waits.

    Returns None for a library that exact search serves.
    """
    store = SqliteStore.open_to_read(folder)
    if store is None:
        return None
    cache_file.clear_left_behind(folder)
    try:
        with store.snapshot():
            if "dim" not in store.meta() or cache.chosen(store)[0] == "flat":
                return None
            return cache.refresh(store, current, probes)
    finally:
        store.close()


def compact(
    writer: SqliteWriter,
    probes: Probes | None,
    retrain: bool,
    engine: str | None,
) -> CompactReport:
    """Merge every change into the cache, drop the tombstones, give free space back to the disk.

    The caller holds the writer's lock. The order matters, so that a killed ``compact`` leaves a
    valid cache: a cache made now needs no older tombstone, and one made before is refused.

    Args:
        writer: The library.
        probes: Text vectors to measure with.
        retrain: Build the engine again even where it has not drifted.
        engine: Name of the engine from now on; ``auto`` chooses by size, None changes nothing.
    """
    folder = writer.file.parent
    before = bytes_on_disk(folder)
    if engine is not None:
        _request(writer, engine)
    with writer.snapshot():
        rows, filled, name = writer.row_count(), "dim" in writer.meta(), cache.chosen(writer)[0]
        found = cache.read(folder / cache_file.FILE_NAME) if filled and not retrain else None
        merged, trained = cache.merge(writer, found, probes) if filled else (None, False)
    with writer.transaction():
        dropped = len(writer.dead_ids())
        if merged is not None:
            writer.set_meta({"compacted_at": str(merged.made_at)})
        writer.connection.execute("DELETE FROM tombstones")
    with schema.guard(writer.file, "compact"):
        writer.connection.execute("VACUUM")
        writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    cache_file.clear_left_behind(folder)
    return CompactReport(rows, dropped, before, bytes_on_disk(folder), name, trained)


def _request(writer: SqliteWriter, engine: str) -> None:
    with writer.transaction():
        if engine == "auto":
            writer.connection.execute("DELETE FROM meta WHERE key = ?", (cache.REQUESTED_KEY,))
            return
        if engine not in registry.names("engine"):
            raise registry.unknown_name("index type", engine, [*registry.names("engine"), "auto"])
        writer.set_meta({cache.REQUESTED_KEY: engine})

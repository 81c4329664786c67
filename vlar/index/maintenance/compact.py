"""Keeping a library fast and small: folding changes into the cache, compacting the files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vlar import registry
from vlar.index.maintenance.info import bytes_on_disk
from vlar.index.protocol import LibraryModel, Probes
from vlar.index.search_cache import cache as ann
from vlar.index.search_cache import cache_file
from vlar.index.store import schema
from vlar.index.store.database import Store
from vlar.index.store.writer import Writer
from vlar.types import Float32, JsonDict

_BANK = "everyday_actions"


@dataclass(frozen=True)
class CompactReport:
    """What a ``compact`` did. ``trained`` tells whether the search index was made anew."""

    rows: int
    tombstones: int
    bytes_before: int
    bytes_after: int
    ann: str
    trained: bool

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return asdict(self)


def probes_of(model: LibraryModel) -> Probes:
    """Text vectors (Q, D) of many actions: what an index is measured with."""

    def probes() -> Float32:
        from vlar.text.bank import load_bank

        return np.asarray(model.encode_queries(load_bank(_BANK).texts), np.float32)

    return probes


def settle(folder: Path, current: ann.Cached | None, probes: Probes | None) -> ann.Cached | None:
    """After a change, so that no query has to wait: make or renew a large library's cache."""
    store = Store.open_to_read(folder)
    if store is None:
        return None
    cache_file.clear_left_behind(folder)
    try:
        with store.snapshot():
            if "dim" not in store.meta() or ann.chosen(store)[0] == "flat":
                return None
            return ann.refresh(store, current, probes)
    finally:
        store.close()


def compact(
    writer: Writer,
    probes: Probes | None,
    retrain: bool,
    kind: str | None,
) -> CompactReport:
    """Fold every change into the cache, drop the tombstones, give free space back to the disk.

    Whoever calls it holds the writer's lock. In this order, so that a killed ``compact`` leaves a
    cache that is right: a cache made now needs no older tombstone, one made before is refused.

    Args:
        writer: The library.
        probes: What an index is measured with.
        retrain: Make the index anew even where it has not drifted.
        kind: The type of index from now on; ``auto`` is by size, None leaves it.
    """
    folder = writer.file.parent
    before = bytes_on_disk(folder)
    if kind is not None:
        _ask(writer, kind)
    with writer.snapshot():
        rows, filled, name = writer.row_count(), "dim" in writer.meta(), ann.chosen(writer)[0]
        found = ann.read(folder / cache_file.FILE_NAME) if filled and not retrain else None
        cached, trained = ann.fold(writer, found, probes) if filled else (None, False)
    with writer.transaction():
        dropped = len(writer.dead_ids())
        if cached is not None:
            writer.set_meta({"compacted_at": str(cached.made_at)})
        writer.connection.execute("DELETE FROM tombstones")
    with schema.guard(writer.file, "compact"):
        writer.connection.execute("VACUUM")
        writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    cache_file.clear_left_behind(folder)
    return CompactReport(rows, dropped, before, bytes_on_disk(folder), name, trained)


def _ask(writer: Writer, kind: str) -> None:
    with writer.transaction():
        if kind == "auto":
            writer.connection.execute("DELETE FROM meta WHERE key = ?", (ann.ASKED_KEY,))
            return
        if kind not in registry.names("engine"):
            raise registry.unknown_name("index type", kind, [*registry.names("engine"), "auto"])
        writer.set_meta({ann.ASKED_KEY: kind})

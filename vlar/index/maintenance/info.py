"""The facts of a library, for ``info``."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from vlar.index.manifest import LibraryManifest
from vlar.index.report import LibraryInfo
from vlar.index.search_cache import cache
from vlar.index.store import schema
from vlar.index.store.base import LibraryStore
from vlar.index.store.sqlite import SqliteStore


def describe(folder: Path, store: SqliteStore | None) -> LibraryInfo:
    """Facts about a library; ``store`` is None before the first write."""
    rows = 0 if store is None else store.counts()[1]
    name, why = cache.choose(rows) if store is None else cache.chosen(store)
    state, found = "absent", None
    if store is not None and LibraryManifest.of(store) is not None:
        state, found = cache.state(store)
    return facts_of(
        str(folder),
        store,
        bytes_on_disk=bytes_on_disk(folder),
        engine=name,
        engine_why=why,
        cache_state=state,
        engine_facts={} if found is None else dict(found.engine.facts),
        waiting_added=0 if found is None else found.engine.added,
        waiting_deleted=0 if found is None else found.engine.deleted,
        format=schema.SCHEMA_VERSION,
        **_contexts(store),
    )


def _contexts(store: SqliteStore | None) -> dict[str, int]:
    """Number of rows that have context tokens, and the bytes of the tokens."""
    query = "SELECT count(*), total(length(tokens)) FROM contexts"
    rows, size = (0, 0) if store is None else store.fetch(query)[0]
    return {"context_rows": int(rows), "context_bytes": int(size)}


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
        n_frames=manifest.spec.n_frames if manifest else None,
        tag_keys=tuple(store.tag_keys()) if store else (),
        persons=persons,
        person_rows=len(store.ids_of(people=True)) if store and persons else 0,
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

"""The facts of a library, for ``info``."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from vlar.index import ann, schema
from vlar.index.manifest import Manifest
from vlar.index.report import LibraryInfo
from vlar.index.store import Store


def describe(folder: Path, store: Store | None) -> LibraryInfo:
    """Facts about a library; ``store`` is None where nothing was written yet."""
    videos, rows, duration_s = (0, 0, 0.0) if store is None else store.counts()
    manifest = None if store is None else Manifest.read(store.meta(), folder)
    contexts, context_bytes = (0, 0) if store is None else store.context_size()
    kind, why = ann.choose(rows)
    return LibraryInfo(
        path=str(folder),
        videos=videos,
        rows=rows,
        duration_s=duration_s,
        model=manifest.model if manifest else None,
        fingerprint=manifest.fingerprint if manifest else None,
        dim=manifest.dim if manifest else None,
        window_s=manifest.cut.window_s if manifest else None,
        stride_s=manifest.cut.stride_s if manifest else None,
        n_frames=manifest.cut.n_frames if manifest else None,
        tag_keys=tuple(store.tag_keys()) if store else (),
        context_rows=contexts,
        context_bytes=context_bytes,
        bytes_on_disk=_bytes_on_disk(folder),
        ann=kind,
        ann_why=why,
        ann_state="absent" if store is None or manifest is None else ann.state(store),
        format=schema.SCHEMA_VERSION,
    )


def _bytes_on_disk(folder: Path) -> int:
    total = 0
    with suppress(OSError):
        for entry in folder.iterdir():
            with suppress(OSError):  # SQLite may take a log away meanwhile
                total += entry.stat().st_size
    return total

"""A library as a table: rows with their vectors and tags, in Arrow, Parquet, pandas and PyTorch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vlar.errors import UsageError
from vlar.index.connection import LibraryConnection
from vlar.index.manifest import LibraryManifest
from vlar.index.rows import RowTable
from vlar.index.store.base import LibraryStore
from vlar.tables import arrow

Counted = Callable[[int, int], None]
"""Called with the number of rows of a step and the number of all rows."""


def write_parquet(connection: LibraryConnection, path: str | Path, progress: Counted | None) -> int:
    """Write all rows as a Parquet file, and return their number (``Library.export``)."""
    file = Path(path)
    if file.suffix.lower() != ".parquet":
        raise UsageError(f"{file}: an export ends in .parquet; rename it")
    arrow()
    from pyarrow import parquet

    part = file.with_name(f".{file.name}.part")
    written = 0
    try:
        with connection.mutex:
            store, manifest = connection.nonempty()
            with parquet.ParquetWriter(part, _schema(manifest), compression="zstd") as writer:
                for batch, total in _batches(connection, store, manifest):
                    writer.write_batch(batch)
                    written += batch.num_rows
                    if progress is not None:
                        progress(batch.num_rows, total)
        part.replace(file)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{file}: cannot be written ({reason}); choose another file") from error
    finally:
        part.unlink(missing_ok=True)
    return written


def arrow_table(connection: LibraryConnection) -> Any:
    """All rows as a ``pyarrow.Table`` (``Library.to_arrow``)."""
    with connection.mutex:
        store, manifest = connection.nonempty()
        batches = [batch for batch, _ in _batches(connection, store, manifest)]
    return arrow().Table.from_batches(batches, _schema(manifest))


def _batches(
    connection: LibraryConnection, store: LibraryStore, manifest: LibraryManifest
) -> Iterator[tuple[Any, int]]:
    """Record batches, each with the number of all rows; in one snapshot."""
    import numpy as np

    pa = arrow()
    schema = _schema(manifest)
    store.damaged.clear()
    with store.snapshot():
        source = store.source(manifest.dim)
        paths, tags = store.paths(), store.tags()
        lengths = store.fact("duration_s")
        for table, vectors in source.chunks():
            ids = table.video_ids.tolist()
            flat = pa.array(vectors.astype(np.float32).ravel())
            columns = [
                pa.array(table.ids),
                pa.array([paths[i] for i in ids], pa.string()),
                pa.array(table.starts_s),
                pa.array(table.ends_s),
                pa.array([lengths.get(i, 0.0) for i in ids], pa.float64()),
                pa.array([list(tags.get(i, {}).items()) for i in ids], schema.field("tags").type),
                pa.FixedSizeListArray.from_arrays(flat, manifest.dim),
                *(_people(store, manifest, table) if manifest.persons else ()),
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema), source.count
        connection.name_damage(store)


def _people(store: LibraryStore, manifest: LibraryManifest, table: RowTable) -> tuple[Any, Any]:
    """The columns ``track`` and ``box`` of some rows."""
    pa = arrow()
    people = store.rows(table.ids.tolist(), manifest.dim).people
    shown = [people.get(row_id) for row_id in table.ids.tolist()]
    tracks = pa.array([None if each is None else each.track for each in shown], pa.int64())
    boxes = [None if each is None else list(each.box) for each in shown]
    return tracks, pa.array(boxes, pa.list_(pa.float64()))


def _schema(manifest: LibraryManifest) -> Any:
    pa = arrow()
    number, text = pa.float64(), pa.string()
    fields = [
        *[("row_id", pa.int64()), ("path", text), ("start_s", number), ("end_s", number)],
        *[("duration_s", number), ("tags", pa.map_(text, text))],
        ("vector", pa.list_(pa.float32(), manifest.dim)),
        *([("track", pa.int64()), ("box", pa.list_(number))] if manifest.persons else []),
    ]
    facts = {
        "vlar.manifest": json.dumps(manifest.to_meta()),
        "vlar.model": manifest.model,
        "vlar.fingerprint": manifest.fingerprint,
        "vlar.modality": manifest.modality,
        "vlar.window_s": repr(manifest.spec.window_s),
        "vlar.stride_s": repr(manifest.spec.stride_s),
    }
    return pa.schema(fields, metadata=facts)

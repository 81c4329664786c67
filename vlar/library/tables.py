"""A library as a table: rows with their vectors and tags, in Arrow, Parquet, pandas and PyTorch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import LibraryError, UsageError, VlarError, explained
from vlar.files.replacing import replacing
from vlar.library.backends import backend_of
from vlar.library.connection import LibraryConnection
from vlar.library.manifest import LibraryManifest, require_encoded
from vlar.library.rows import Int64, RowFilter, RowTable
from vlar.library.store.base import LibraryStore
from vlar.media.lookup import reader
from vlar.results import arrow, arrow_schema
from vlar.types import Sampling, UInt8, Window


class LibraryDataset:
    """The rows of a library, in rising order of their ids.

    An item has ``row_id``, ``vector`` (D,) float32, ``path``, ``start_s``, ``end_s``, ``tags`` (a
    dict of the keys that were asked for) and, with ``clips``, ``clip`` (T, H, W, 3) uint8 and
    ``lost`` (0 to 1). A clip that cannot be read is black, and its ``lost`` is 1. The item of a
    person's row also has ``track`` and ``box`` (``vlar.library.rows.RowPerson``); its clip is the
    whole picture.

    Args:
        path: The library.
        tags: Keys of tags that items carry.
        clips: Whether items carry frames.
        n_frames: T.
        size: (H, W) in pixels.
        channels_first: Whether frames are (T, 3, H, W).
    """

    def __init__(
        self,
        path: str | Path,
        tags: tuple[str, ...] = (),
        clips: bool = False,
        n_frames: int = 8,
        size: tuple[int, int] = (224, 224),
        channels_first: bool = False,
    ) -> None:
        if n_frames < 1 or min(size) < 1:
            raise UsageError(f"n_frames {n_frames} and size {size} must be at least 1")
        self.path, self.tags, self.clips = str(path), tags, clips
        self._channels_first = channels_first
        self._sampling, self._size = Sampling(n_frames, shorter_side=min(size)), size
        self._opened: tuple[int, LibraryStore, LibraryManifest] | None = None

    def __len__(self) -> int:
        """N, the number of rows when the data set was first used."""
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One item."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Several items, read together.

        Raises:
            IndexError: an index outside the data set.
            LibraryError: a row was deleted or damaged since the data set was first used.
        """
        ids = [int(self._ids[index]) for index in indices]
        _, store, manifest = self._connection()
        rows = store.rows(sorted(set(ids)), manifest.dim)
        videos = sorted(set(rows.video_ids.tolist()))
        paths, tags = store.paths(videos), store.tags(videos)
        items: dict[int, dict[str, Any]] = {}
        for index, row_id in enumerate(rows.ids.tolist()):
            video_id = int(rows.video_ids[index])
            start_s, end_s = rows.spans[index]
            values = tags.get(video_id, {})
            items[row_id] = {
                "row_id": row_id,
                "vector": rows.vectors[index],
                "path": paths[video_id],
                "start_s": start_s,
                "end_s": end_s,
                "tags": {key: values.get(key, "") for key in self.tags},
            }
            if (person := rows.people.get(row_id)) is not None:
                items[row_id] |= {"track": person.track, "box": person.box}
        if missing := set(ids) - items.keys():
            raise LibraryError(
                f"library {self.path}: row {min(missing)} is gone or damaged; make the data set "
                "again"
            )
        if self.clips:
            for item in items.values():
                frames, item["lost"] = self._clip(item, manifest.modality)
                if self._channels_first:
                    frames = np.ascontiguousarray(frames.transpose(0, 3, 1, 2))
                item["clip"] = frames
        return [dict(items[row_id]) for row_id in ids]

    def __getstate__(self) -> dict[str, Any]:
        """Drop the connection; worker processes open the library themselves."""
        return {**self.__dict__, "_opened": None}

    def _connection(self) -> tuple[int, LibraryStore, LibraryManifest]:
        # A connection of SQLite must not cross a fork.
        if self._opened is None or self._opened[0] != os.getpid():
            store = backend_of(self.path).reader()
            manifest = None if store is None else LibraryManifest.of(store)
            if store is None or manifest is None:
                raise LibraryError(f"library {self.path} is empty; add recordings first")
            require_encoded(store, manifest, "a data set")
            self._opened = os.getpid(), store, manifest
        return self._opened

    @cached_property
    def _ids(self) -> Int64:
        _, store, manifest = self._connection()
        id_blocks = (rows.ids for rows in store.scan(manifest.dim, RowFilter()))
        return np.sort(np.concatenate([np.empty(0, np.int64), *id_blocks]))

    def _clip(self, item: dict[str, Any], modality: str) -> tuple[UInt8, float]:
        from PIL import Image

        height, width = self._size
        try:
            window = Window(item["start_s"], item["end_s"])
            clip = reader(modality).read_clip(Path(item["path"]), window, self._sampling)
        except VlarError:
            return np.zeros((self._sampling.n_frames, height, width, 3), np.uint8), 1.0
        frames = [
            np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))
            for frame in clip.data
        ]
        return np.stack(frames), clip.lost


Counted = Callable[[int, int], None]
"""Called with the number of rows of a step and the number of all rows."""


def write_parquet(connection: LibraryConnection, path: str | Path, progress: Counted | None) -> int:
    """Write all rows as a Parquet file, and return their number (``Library.export``)."""
    file = Path(path)
    if file.suffix.lower() != ".parquet":
        raise UsageError(f"{file}: an export ends in .parquet; rename it")
    arrow()
    from pyarrow import parquet

    written = 0
    with (
        explained(UsageError, f"{file}: cannot be written", "choose another file"),
        replacing(file) as part,
        connection.mutex,
    ):
        store, manifest = connection.nonempty()
        with parquet.ParquetWriter(part, _schema(manifest), compression="zstd") as writer:
            for batch, total in _batches(connection, store, manifest):
                writer.write_batch(batch)
                written += batch.num_rows
                if progress is not None:
                    progress(batch.num_rows, total)
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
    pa = arrow()
    require_encoded(store, manifest, "exported")
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
    tracks = pa.array([None if person is None else person.track for person in shown], pa.int64())
    boxes = [None if person is None else list(person.box) for person in shown]
    return tracks, pa.array(boxes, pa.list_(pa.float64()))


def _schema(manifest: LibraryManifest) -> Any:
    columns = ["row_id", "path", "start_s", "end_s", "duration_s", "tags", "vector"]
    columns += ["track", "box"] if manifest.persons else []
    span = {"window_s": manifest.spec.window_s, "stride_s": manifest.spec.stride_s}
    facts = manifest.table_facts() | {f"vlar.{name}": repr(value) for name, value in span.items()}
    return arrow_schema(columns, dim=manifest.dim, facts=facts)

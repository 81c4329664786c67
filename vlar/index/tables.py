"""A library as a table: rows with their vectors and tags, in Arrow, Parquet, pandas and PyTorch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlar.errors import UsageError
from vlar.index.dataset import LibraryDataset
from vlar.index.manifest import LibraryManifest
from vlar.index.rows import RowTable
from vlar.index.store.base import LibraryStore
from vlar.index.upkeep import LibraryUpkeep
from vlar.tables import arrow

if TYPE_CHECKING:
    import pandas as pd

    from vlar.index.ingest.writer import IngestProgress
    from vlar.index.report import AddReport

Counted = Callable[[int, int], None]
"""Called with the number of rows of a step and the number of all rows."""


class LibraryTables(LibraryUpkeep):
    """The part of a library that gives its rows as tables; docs/answers.md has the columns."""

    def export(self, path: str | Path, *, progress: Counted | None = None) -> int:
        """Write all rows, with vectors and tags, as a Parquet file.

        Rows are read and written in batches of 8192, all of one state of the library.

        Args:
            path: The file, which ends in ``.parquet``; an older one is replaced.
            progress: Called after each batch.

        Returns:
            The number of rows written; damaged rows are left out, and a warning names them.

        Raises:
            UsageError: another ending, the file cannot be written, or pyarrow is not installed.
            LibraryError: the library is empty or damaged.
        """
        file = Path(path)
        if file.suffix.lower() != ".parquet":
            raise UsageError(f"{file}: an export ends in .parquet; rename it")
        arrow()
        from pyarrow import parquet

        part = file.with_name(f".{file.name}.part")
        written = 0
        try:
            with self._mutex:
                store, manifest = self._open_nonempty()
                with parquet.ParquetWriter(part, _schema(manifest), compression="zstd") as writer:
                    for batch, total in self._batches(store, manifest):
                        writer.write_batch(batch)
                        written += batch.num_rows
                        if progress is not None:
                            progress(batch.num_rows, total)
            part.replace(file)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageError(
                f"{file}: cannot be written ({reason}); choose another file"
            ) from error
        finally:
            part.unlink(missing_ok=True)
        return written

    def import_shards(
        self, paths: str | Path | Sequence[str | Path], *, progress: IngestProgress | None = None
    ) -> AddReport:
        """Add the rows of Parquet files, such as ``add(shards=FOLDER)`` and ``export`` write them.

        Args:
            paths: Files, and folders of them; docs/ingest.md has the columns. The rows of a
                recording that is in several are those of the last one.
            progress: Called after the commit of each recording.

        Returns:
            What was done; ``failed`` also names files that are half-written, damaged or of
            another model, and recordings with values that a library cannot hold.

        Raises:
            UsageError: no file can be used, or pyarrow is not installed.
            LibraryLockedError: another process is writing.
            LibraryError: the library cannot be written to.
        """
        from vlar.index.shards.load import import_shards

        given = [paths] if isinstance(paths, str | Path) else list(paths)
        with self._mutex, self._writing() as writer:
            report = import_shards(writer, given, self._models, progress)
            self._settle()
            return report

    def to_arrow(self) -> Any:
        """All rows as a ``pyarrow.Table``, as ``export`` writes them.

        Raises:
            UsageError: pyarrow is not installed.
            LibraryError: the library is empty or damaged.
        """
        with self._mutex:
            store, manifest = self._open_nonempty()
            batches = [batch for batch, _ in self._batches(store, manifest)]
        return arrow().Table.from_batches(batches, _schema(manifest))

    def to_pandas(self) -> pd.DataFrame:
        """All rows as a data frame of pandas; vectors are arrays (D,), tags are dicts."""
        return self.to_arrow().to_pandas(maps_as_pydicts="strict")

    def dataset(
        self,
        *,
        tags: Sequence[str] = (),
        clips: bool = False,
        n_frames: int = 8,
        size: tuple[int, int] = (224, 224),
    ) -> LibraryDataset:
        """The rows as a map-style data set for ``torch.utils.data.DataLoader``.

        Args:
            tags: Keys of tags that items carry; a missing tag is an empty text.
            clips: Whether items carry frames, which are decoded when they are asked for.
            n_frames: T.
            size: (H, W) in pixels.

        Raises:
            LibraryError: the library is empty or damaged.
        """
        with self._mutex:
            self._open_nonempty()
        return LibraryDataset(str(self.path), tuple(tags), clips, n_frames, size)

    def _batches(self, store: LibraryStore, manifest: LibraryManifest) -> Iterator[tuple[Any, int]]:
        """Record batches, each with the number of all rows; in one snapshot."""
        import numpy as np

        pa = arrow()
        schema = _schema(manifest)
        store.damaged.clear()
        with store.snapshot():
            source = store.source(manifest.dim)
            paths, tags = store.paths(), store.tags()
            lengths = store.durations()
            for table, vectors in source.chunks():
                ids = table.video_ids.tolist()
                flat = pa.array(vectors.astype(np.float32).ravel())
                columns = [
                    pa.array(table.ids),
                    pa.array([paths[i] for i in ids], pa.string()),
                    pa.array(table.starts_s),
                    pa.array(table.ends_s),
                    pa.array([lengths[i] for i in ids], pa.float64()),
                    pa.array(
                        [list(tags.get(i, {}).items()) for i in ids], schema.field("tags").type
                    ),
                    pa.FixedSizeListArray.from_arrays(flat, manifest.dim),
                    *(_people(store, manifest, table) if manifest.persons else ()),
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=schema), source.count
            self._name_damage(store)


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

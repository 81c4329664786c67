"""Changes a library in Milvus (``vlar.index.store.changes.LibraryWriter``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from vlar.errors import LibraryError
from vlar.index.copying import copy_within
from vlar.index.engines.base import Probes
from vlar.index.maintenance.compact import CompactReport
from vlar.index.maintenance.verify import LibraryFault
from vlar.index.milvus import indexes, stored
from vlar.index.milvus.layout import create_rows
from vlar.index.milvus.recording import ROWS_A_VERSION, first_id
from vlar.index.milvus.recordings import RecordingWriter
from vlar.index.milvus.repair import compacted, repaired
from vlar.index.milvus.side import failed_key, failed_record
from vlar.index.rows import Float16, RowPerson
from vlar.index.store.failed import FailedFile
from vlar.types import Float32, Window

_FLUSHED = 1000  # rows of a run after which Milvus Lite is asked to make segments


class MilvusWriter(RecordingWriter):
    """The one writer of a library in Milvus. Its maker holds the lease.

    Args:
        connection: To Milvus.
        layout: Of the library.
        library_id: Of the library.
        lease: That is held.
    """

    _failed: set[str] | None = None
    _row_count = 0

    def finish(self) -> None:
        """Make what was written quick to search."""
        with suppress(LibraryError):
            if self.connection.is_lite and self._row_count >= _FLUSHED:
                self.connection.flush(self.layout.rows)

    # Rows ---------------------------------------------------------------------------------------

    def insert_rows(
        self,
        video_id: int,
        windows: Sequence[Window],
        vectors: Float32,
        people: Sequence[RowPerson | None] = (),
    ) -> None:
        """See ``LibraryWriter``.

        Raises:
            LibraryError: vectors of another width, a window twice, or more rows than fit.
        """
        self._require_width(int(vectors.shape[1]))
        own, places = self.get(video_id), self.places[video_id]
        if own.rows + len(windows) >= ROWS_A_VERSION:
            raise LibraryError(
                f"{own.path}: a recording in Milvus has fewer than {ROWS_A_VERSION} rows; cut it, "
                "or use longer windows"
            )
        first = first_id(own.version) + own.rows
        for number, key in enumerate(stored.row_keys(windows, people)):
            if key in places:
                raise LibraryError(f"{own.path}: the window from {key[1]} to {key[2]} s is twice")
            places[key] = first + number + 1
        entities = stored.row_entities(video_id, own.version, first, windows, vectors, people)
        last_s = max((float(window.start_s) for window in windows), default=0.0)
        self.change(
            replace(own, rows=own.rows + len(windows), last_start_s=max(own.last_start_s, last_s))
        )
        self.now.write_rows(entities, 4 * int(vectors.shape[1]) + 128)
        self._row_count += len(windows)

    def insert_contexts(
        self,
        video_id: int,
        windows: Sequence[Window],
        contexts: Float16,
        people: Sequence[RowPerson | None] = (),
    ) -> None:
        """See ``LibraryWriter``."""
        shape = f"{contexts.shape[1]} {contexts.shape[2]}"
        others = self.meta().get("context_shape")
        if others is None:
            self.set_meta({"context_shape": shape})
        elif others != shape:
            raise LibraryError(
                f"library {self.address} keeps contexts of shape {others}, the model gave {shape}; "
                "index the videos into a new library, or without contexts (--no-context)"
            )
        own, places = self.get(video_id), self.places[video_id]
        for key, tokens in zip(stored.row_keys(windows, people), contexts, strict=True):
            row_id = places[key]
            self.now.write_blobs(stored.context_entities(row_id, own.version, tokens))
        size = own.context_bytes + contexts.astype(np.float16).nbytes
        self.change(replace(own, contexts=own.contexts + len(windows), context_bytes=size))

    def copy_recording(self, source_id: int, video_id: int) -> int:
        """Give a recording the rows of another with the same content, and all that belongs to them.

        Returns how many rows.
        """
        source = self.get(source_id)
        copy_within(self, source_id, video_id, self.width or 0)
        self.set_unreadable(video_id, source.unreadable)
        return self.get(video_id).rows

    def keep_captions(
        self, video_id: int, captions: Iterable[tuple[Window, str]], made_by: str
    ) -> None:
        """Keep the captions of a recording's windows in place of earlier ones."""
        own = self.get(video_id)
        entities = stored.caption_entities(own.version, captions, made_by)
        self.now.write_blobs(entities)
        self.change(replace(own, captioned=bool(entities)))

    def keep_lost(self, video_id: int, lost: Iterable[tuple[Window, float]]) -> None:
        """Keep which share of the frames of windows is lost, in place of earlier shares."""
        own = self.get(video_id)
        entities = stored.lost_entities(own.version, lost)
        self.now.write_blobs(entities)
        self.change(replace(own, has_lost=bool(entities)))

    # Failed files -------------------------------------------------------------------------------

    def remember(self, failed: FailedFile) -> None:
        """Keep a failure."""
        self.now.records[failed_key(failed.path)] = failed_record(failed)
        self._failed_paths().add(failed.path)

    def forget(self, path: str) -> None:
        """Drop the failure of a path."""
        if path in self._failed_paths():
            self.now.dropped.append(failed_key(path))
            self._failed_paths().discard(path)

    def _failed_paths(self) -> set[str]:
        if self._failed is None:
            self._failed = set(self.failed_files())
        return self._failed

    # Upkeep -------------------------------------------------------------------------------------

    def compact(self, probes: Probes | None, retrain: bool, engine: str | None) -> CompactReport:
        """Merge segments, and build the index that is asked for or that suits the rows."""
        del probes
        return compacted(self.connection, self.layout, self.counts()[1], retrain, engine)

    def repaired(self, fault: LibraryFault) -> LibraryFault:
        """A fault after its repair."""
        return repaired(self, fault)

    def _require_width(self, dim: int) -> None:
        """The collection of rows with vectors of a width; made with the first row."""
        if self.width == dim:
            return
        if self.width is not None and self.catalog().all():
            raise LibraryError(
                f"library {self.address} keeps vectors of width {self.width}, the model gave "
                f"{dim}; index the videos into a new library"
            )
        if self.width is not None:
            self.connection.drop(self.layout.rows)  # of a first recording that was rolled back
        index = indexes.build_params("flat", 0)
        create_rows(self.connection, self.layout, dim, index)
        self.width, self.has_row_collection = dim, True

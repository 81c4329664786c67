"""Reads a library in Milvus (``vlar.library.store.base.LibraryStore``)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from vlar.errors import LibraryError
from vlar.library.rows import Float16, Int64, RowBatch, RowFilter, VideoRow
from vlar.library.store.annotations import (
    A,
    Annotation,
    Caption,
    FailedFile,
    KeptFrames,
    LostFrames,
    RecordingLabels,
    printable,
)
from vlar.library.store.base import LibraryStore, SnapshotMovedError
from vlar.library.store.row_check import STORED, CheckedRows, context_is_whole
from vlar.library.store.values import RecordingFacts, Stamp, context_shape
from vlar.plugins.milvus.catalog import Catalog
from vlar.plugins.milvus.client import MilvusConnection, listed
from vlar.plugins.milvus.layout import META_KEY, STATE_KEY, manifest_of, record
from vlar.plugins.milvus.recording_record import RecordingRecord, text_key
from vlar.plugins.milvus.rows import MilvusSource, Rows, beyond
from vlar.plugins.milvus.serialization import CAPTIONS, CONTEXT, LOST, context_of, entries_of
from vlar.plugins.milvus.state import State, VisibleVersions

_ALL = RowFilter()
FAILED = "failed"
_AT_ONCE = 512  # rows of a recording that are read together, ids of one filter
_TOKEN_BYTES = 65_536
_NEAR = 8  # windows before or after one that are read first
Span = tuple[float, float]


class MilvusStore(LibraryStore):
    """Reads a library in Milvus over one connection; the caller serialises its use."""

    def __init__(
        self,
        connection: MilvusConnection,
        library_id: str,
        has_row_collection: bool = True,
    ) -> None:
        self.connection, self.library_id = connection, library_id
        self.has_row_collection = has_row_collection
        self.damaged: dict[int, str] = {}
        self._pinned: VisibleVersions | None = None
        self._facts: dict[str, str] = {}  # the manifest of the view that is pinned
        self._catalog: Catalog | None = None
        self._catalog_of = 0
        self._by_kind: dict[bool, frozenset[int]] = {}
        self._rows: Rows | None = None

    @property
    def address(self) -> str:
        return str(self.connection.address)

    def close(self) -> None:
        self.connection.close()

    # One state ----------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Generator[None, None, None]:
        """All reads inside use one view; where its rows were removed meanwhile, they raise."""
        if self._pinned is not None:
            yield
            return
        self._pinned, self._facts = view, _ = self._read_state()
        self.connection.rows = view.rows
        try:
            yield
        except LibraryError as error:
            self._pinned = None
            if isinstance(error, SnapshotMovedError) or self._read_view().rows == view.rows:
                raise
            raise SnapshotMovedError(error.message) from error  # its collection is gone
        finally:
            self._pinned = self._rows = None

    def view(self) -> VisibleVersions:
        """The view of the snapshot, or the present one."""
        if self._pinned is not None:
            return self._pinned
        view = self._read_view()
        self.connection.rows = view.rows
        return view

    def _read_view(self) -> VisibleVersions:
        return self._read_state()[0]

    def _read_state(self) -> tuple[VisibleVersions, dict[str, str]]:
        """The present view, and the manifest at the same time."""
        connection = self.connection
        entities = connection.get(connection.records, [STATE_KEY, META_KEY], ["key", "doc"])
        state, meta = (
            [entity for entity in entities if entity["key"] == key] for key in (STATE_KEY, META_KEY)
        )
        facts, rows = manifest_of(connection, meta)
        return VisibleVersions.of(State.of(state, connection), connection, rows), facts

    def catalog(self) -> Catalog:
        """The recordings of the view."""
        view = self.view()
        if self._catalog is None or self._catalog_of != view.number:
            self._catalog = Catalog(self.connection, view, self._changed())
            self._catalog_of, self._by_kind = view.number, {}
        return self._catalog

    def rows_read(self) -> Rows:
        """Reads rows of the view."""
        if self._rows is not None:
            return self._rows
        view, catalog = self.view(), self.catalog()
        rows = Rows(self.connection, catalog, view, self.damaged, self._by_kind, self._read_view)
        if self._pinned is not None:
            self._rows = rows
        return rows

    def _changed(self) -> Mapping[int, RecordingRecord | None]:
        """Changes of a running transaction of this store."""
        return {}

    def data_version(self) -> int:
        return self.view().number

    def meta(self) -> dict[str, str]:
        facts = self._facts
        if self._pinned is None:
            entities = self.connection.get(self.connection.records, [META_KEY], ["doc"])
            facts = manifest_of(self.connection, entities)[0]
        return {**facts, "library_id": self.library_id}

    # Recordings ---------------------------------------------------------------------------------

    def recordings(self, content_hash: str | None = None) -> list[RecordingFacts]:
        if content_hash is not None:
            return [record.facts for record in self.catalog().with_content(content_hash)]
        return [record.facts for record in self.catalog().all().values()]

    def at_path(self, path: str) -> RecordingFacts | None:
        record = self.catalog().at_path(path)
        return None if record is None else record.facts

    def paths(self, video_ids: Sequence[int] | None = None) -> dict[int, str]:
        return {i: record.path for i, record in self.catalog().some(video_ids).items()}

    def videos(self) -> list[VideoRow]:
        rows = map(RecordingRecord.as_row, self.catalog().all().values())
        return sorted(rows, key=lambda row: row.path)

    def fact(self, name: str) -> dict[int, float]:
        return {i: record.fact(name) for i, record in self.catalog().all().items()}

    def tags(self, video_ids: Sequence[int] | None = None) -> dict[int, dict[str, str]]:
        records = self.catalog().some(video_ids).items()
        return {i: dict(sorted(record.tags.items())) for i, record in records if record.tags}

    def tag_keys(self) -> list[str]:
        return sorted({key for record in self.catalog().all().values() for key in record.tags})

    def tagged(self, key: str, value: str | None = None) -> dict[int, str]:
        held = {
            i: record.tags[key] for i, record in self.catalog().all().items() if key in record.tags
        }
        return held if value is None else {i: has for i, has in held.items() if has == value}

    # Rows ---------------------------------------------------------------------------------------

    def counts(self) -> tuple[int, int, float]:
        every = self.catalog().all().values()
        rows = sum(record.rows for record in every)
        duration_s = sum(record.duration_s for record in every)
        return len(every), rows, float(duration_s)

    def has_rows(self) -> bool:
        if not self.has_row_collection:
            return False
        view = self.view()
        return bool(self.connection.first(view.rows, view.filter, ["id"], 1))

    def rows(self, row_ids: Sequence[int], dim: int) -> RowBatch:
        return self.rows_read().by_id(row_ids, dim).batch

    def scan(self, dim: int, allowed: RowFilter) -> Iterator[CheckedRows]:
        return self.rows_read().scan(dim, allowed)

    def source(self, dim: int) -> MilvusSource:
        return MilvusSource(self.rows_read(), dim)

    def spans(self, video_id: int) -> list[tuple[float, float]]:
        pages = self.rows_read().times(RowFilter(frozenset([video_id])))
        video_spans = (
            (row["start_s"], row["end_s"]) for page in pages for row in page if not row["track"]
        )
        return sorted(video_spans)

    def ids_of(self, *, people: bool) -> Int64:
        return self.rows_read().ids_of(people=people)

    def neighbours(
        self, video_id: int, start_s: float, end_s: float, dim: int, *, later: bool, track: int = 0
    ) -> Iterator[RowBatch]:
        recording = self.catalog().get(video_id)
        if recording is None:
            return
        if recording.rows <= _AT_ONCE:
            whole = self.rows_read().by_id(recording.row_ids(), dim)
            yield beyond(whole.batch, (start_s, end_s), later, track)
            return
        step = max(recording.last_start_s / max(recording.rows, 1), 1e-3) * _NEAR
        near, edge = start_s, recording.last_start_s if later else 0.0
        beyond_span = f"(start_s == {start_s!r} and end_s {'>' if later else '<'} {end_s!r})"
        while True:
            far = near + step if later else near - step
            between = (
                f"start_s > {near!r} and start_s <= {far!r}"
                if later
                else f"start_s < {near!r} and start_s >= {far!r}"
            )
            where = f"(({between}) or {beyond_span})" if near == start_s else f"{between}"
            where += f" and track == {track}"
            batch = self.rows_read().of_version(recording, where, dim).batch
            if len(batch.ids):
                yield batch if later else batch.part(slice(None, None, -1))
            near, step = far, 4 * step
            if (near >= edge) if later else (near < edge):
                return

    def contexts(self, row_ids: Sequence[int]) -> tuple[Int64, Float16]:
        shape = context_shape(self.meta()) or (0, 0)
        good: dict[int, bytes] = {}
        wanted = sorted(set(row_ids))
        for start in range(0, len(wanted), _AT_ONCE):
            where = f'kind == "{CONTEXT}" and row_id in {listed(wanted[start : start + _AT_ONCE])}'
            for row_id, parts in self._by_row(where).items():
                checksum, blob = context_of(parts)
                if context_is_whole(blob, checksum, shape):
                    good[row_id] = blob
                else:
                    self.damaged[row_id] = "its context has changed"
        ids = sorted(good)
        tokens = np.frombuffer(b"".join(good[i] for i in ids), STORED)
        return np.array(ids, np.int64), tokens.reshape(len(ids), *shape)

    def captions(self, row_ids: Sequence[int] | None = None) -> dict[int, str]:
        captions: dict[int, str] = {}
        for recording, spans in self._captioned(row_ids):
            texts = {(s, e): text for s, e, text, _ in self._captions(recording)}
            for row_id, span in spans.items():
                if text := printable(texts.get(span)):
                    captions[row_id] = text
        return captions

    def mapped(self, row_ids: Sequence[int] | None = None) -> set[int]:
        return self.rows_read().mapped(row_ids)

    def mapped_by_time(self, row_ids: Sequence[int] | None = None) -> list[tuple[int, int]]:
        if row_ids is None:
            return self.rows_read().mapped_by_time()
        places = self.rows_read().places(sorted(self.mapped(row_ids)))
        return [(video_id, row_id) for video_id, row_id, _ in places]

    def annotations(self, kind: type[A], owners: Sequence[int | str] | None = None) -> list[A]:
        if kind is FailedFile:
            failed = self._failed_files()
            return cast("list[A]", [f for f in failed if owners is None or f.path in owners])
        if kind in (RecordingLabels, KeptFrames):
            return []
        ids = None if owners is None else [owner for owner in owners if isinstance(owner, int)]
        read = self._captions if kind is Caption else self._lost
        records = self.catalog().some(ids).values()
        return cast(
            "list[A]", [annotation for recording in records for annotation in read(recording)]
        )

    def annotated(self, kind: type[Annotation]) -> set[int]:
        if kind in (RecordingLabels, KeptFrames):
            return set()
        every = self.catalog().all().items()
        return {
            i for i, record in every if (record.captioned if kind is Caption else record.has_lost)
        }

    def _captions(self, recording: RecordingRecord) -> Iterator[Caption]:
        if recording.captioned:
            for s, e, text, made_by in self._entries(recording, CAPTIONS):
                yield Caption(float(s), float(e), str(text), str(made_by))

    def _lost(self, recording: RecordingRecord) -> Iterator[LostFrames]:
        if recording.has_lost:
            for s, e, share in self._entries(recording, LOST):
                yield LostFrames(float(s), float(e), min(max(float(share), 0.0), 1.0))

    def _failed_files(self) -> Iterator[FailedFile]:
        where = f'kind == "{FAILED}"'
        for page in self.connection.pages(self.connection.records, where, ["doc"], 1024):
            for entity in page:
                facts: dict[str, Any] = json.loads(entity["doc"])
                stamp = Stamp(int(facts.pop("size")), int(facts.pop("mtime_ns")))
                yield FailedFile(stamp=stamp, **facts)

    def _entries(self, recording: RecordingRecord, kind: str) -> Iterator[list[Any]]:
        where = f'kind == "{kind}" and version == {recording.version}'
        pages = self.connection.pages(self.connection.blobs, where, ["part", "data"], _TOKEN_BYTES)
        yield from entries_of([entity for page in pages for entity in page])

    def _captioned(
        self, row_ids: Sequence[int] | None
    ) -> Iterator[tuple[RecordingRecord, Mapping[int, Span]]]:
        """Recordings with captions, each with the spans of its rows, or of some of them, by id."""
        if row_ids is None:
            for recording in self.catalog().all().values():
                if recording.captioned:
                    pages = self.rows_read().times(RowFilter(frozenset([recording.id])))
                    spans_of_rows = {
                        r["id"]: (r["start_s"], r["end_s"]) for page in pages for r in page
                    }
                    yield recording, spans_of_rows
            return
        by_video: dict[int, dict[int, Span]] = defaultdict(dict)
        for video_id, row_id, span in self.rows_read().places(row_ids):
            by_video[video_id][row_id] = span
        for video_id, spans in by_video.items():
            recording = self.catalog().get(video_id)
            if recording is not None and recording.captioned:
                yield recording, spans

    def _by_row(self, where: str) -> dict[int, list[Mapping[str, Any]]]:
        parts: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
        fields = ["row_id", "part", "data"]
        for page in self.connection.pages(self.connection.blobs, where, fields, _TOKEN_BYTES):
            for entity in page:
                parts[int(entity["row_id"])].append(entity)
        return parts


def failed_record(failed: FailedFile) -> dict[str, Any]:
    """The entity of a file that is not to be read again as it is."""
    facts = {
        "path": failed.path,
        "content_hash": failed.content_hash,
        "kind": failed.kind,
        "size": failed.stamp.size,
        "mtime_ns": failed.stamp.mtime_ns,
        "message": failed.message,
    }
    return record(failed_key(failed.path), FAILED, facts)


def failed_key(path: str) -> str:
    """Key of the record of a failed file."""
    return f"f{text_key(path)}"

"""Contexts, captions, lost frames and failed files of a library in Milvus."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np

from vlar.library.rows import Float16, Int64, RowFilter
from vlar.library.store.annotations import A, Caption, FailedFile, LostFrames
from vlar.library.store.row_check import STORED, context_is_whole
from vlar.library.store.values import Stamp
from vlar.plugins.milvus.catalog import Catalog
from vlar.plugins.milvus.client import MilvusConnection, listed
from vlar.plugins.milvus.layout import CollectionNames, record
from vlar.plugins.milvus.recording_record import RecordingRecord, text_key
from vlar.plugins.milvus.rows import Rows
from vlar.plugins.milvus.serialization import CAPTIONS, CONTEXT, LOST, clean, context_of, entries_of

FAILED = "failed"
_AT_ONCE = 512  # ids of one filter
_TOKEN_BYTES = 65_536
Span = tuple[float, float]


class SideData:
    """Reads what belongs to rows and recordings besides the vectors.

    Args:
        connection: To Milvus.
        layout: Of the library.
        catalog: The recordings of the view.
    """

    def __init__(
        self, connection: MilvusConnection, layout: CollectionNames, catalog: Catalog
    ) -> None:
        self._connection, self._layout, self._catalog = connection, layout, catalog

    def contexts(
        self, row_ids: Sequence[int], shape: tuple[int, int], damaged: dict[int, str]
    ) -> tuple[Int64, Float16]:
        """The rows among ``row_ids`` that have context tokens (N,), rising, and these (N, k, E).

        Args:
            row_ids: Rows.
            shape: (k, E) of every context.
            damaged: Where rows are noted whose context has changed.
        """
        good: dict[int, bytes] = {}
        wanted = sorted(set(row_ids))
        for at in range(0, len(wanted), _AT_ONCE):
            where = f'kind == "{CONTEXT}" and row_id in {listed(wanted[at : at + _AT_ONCE])}'
            for row_id, parts in self._by_row(where).items():
                checksum, blob = context_of(parts)
                if context_is_whole(blob, checksum, shape):
                    good[row_id] = blob
                else:
                    damaged[row_id] = "its context has changed"
        ids = sorted(good)
        tokens = np.frombuffer(b"".join(good[i] for i in ids), STORED)
        return np.array(ids, np.int64), tokens.reshape(len(ids), *shape)

    def captions(self, rows: Rows, row_ids: Sequence[int] | None) -> dict[int, str]:
        """Captions of rows by row id, of all or of some; a row without one is left out."""
        found: dict[int, str] = {}
        for recording, spans in self._captioned(rows, row_ids):
            texts = {(s, e): text for s, e, text, _ in self._captions(recording)}
            for row_id, span in spans.items():
                if text := clean(texts.get(span)):
                    found[row_id] = text
        return found

    def annotations(self, kind: type[A], owners: Sequence[int | str] | None) -> list[A]:
        """The annotations of one kind, of all owners or of some."""
        if kind is FailedFile:
            failed = self._failed()
            return cast("list[A]", [f for f in failed if owners is None or f.path in owners])
        ids = None if owners is None else [owner for owner in owners if isinstance(owner, int)]
        read = self._captions if kind is Caption else self._lost
        own = self._catalog.some(ids).values()
        return cast("list[A]", [each for recording in own for each in read(recording)])

    def _captions(self, recording: RecordingRecord) -> Iterator[Caption]:
        if recording.captioned:
            for s, e, text, made_by in self._entries(recording, CAPTIONS):
                yield Caption(float(s), float(e), str(text), str(made_by))

    def _lost(self, recording: RecordingRecord) -> Iterator[LostFrames]:
        if recording.has_lost:
            for s, e, share in self._entries(recording, LOST):
                yield LostFrames(float(s), float(e), min(max(float(share), 0.0), 1.0))

    def _failed(self) -> Iterator[FailedFile]:
        where = f'kind == "{FAILED}"'
        for page in self._connection.pages(self._layout.records, where, ["doc"], 1024):
            for each in page:
                facts: dict[str, Any] = json.loads(each["doc"])
                stamp = Stamp(int(facts.pop("size")), int(facts.pop("mtime_ns")))
                yield FailedFile(stamp=stamp, **facts)

    def _entries(self, recording: RecordingRecord, kind: str) -> Iterator[list[Any]]:
        where = f'kind == "{kind}" and version == {recording.version}'
        pages = self._connection.pages(self._layout.blobs, where, ["part", "data"], _TOKEN_BYTES)
        yield from entries_of([each for page in pages for each in page])

    def _captioned(
        self, rows: Rows, row_ids: Sequence[int] | None
    ) -> Iterator[tuple[RecordingRecord, Mapping[int, Span]]]:
        """Recordings with captions, each with the spans of its rows, or of some of them, by id."""
        if row_ids is None:
            for recording in self._catalog.all().values():
                if recording.captioned:
                    pages = rows.times(RowFilter(frozenset([recording.id])))
                    found = {r["id"]: (r["start_s"], r["end_s"]) for page in pages for r in page}
                    yield recording, found
            return
        by_video: dict[int, dict[int, Span]] = defaultdict(dict)
        for video_id, row_id, span in rows.places(row_ids):
            by_video[video_id][row_id] = span
        for video_id, spans in by_video.items():
            recording = self._catalog.get(video_id)
            if recording is not None and recording.captioned:
                yield recording, spans

    def _by_row(self, where: str) -> dict[int, list[Mapping[str, Any]]]:
        parts: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
        fields = ["row_id", "part", "data"]
        for page in self._connection.pages(self._layout.blobs, where, fields, _TOKEN_BYTES):
            for each in page:
                parts[int(each["row_id"])].append(each)
        return parts


def failed_record(failed: FailedFile) -> dict[str, Any]:
    """The entity of a file that is not to be read again as it is."""
    facts = {
        "path": failed.path, "content_hash": failed.content_hash, "kind": failed.kind,
        "size": failed.stamp.size, "mtime_ns": failed.stamp.mtime_ns, "message": failed.message,
    }  # fmt: skip
    return record(failed_key(failed.path), FAILED, facts)


def failed_key(path: str) -> str:
    """Key of the record of a failed file."""
    return f"f{text_key(path)}"

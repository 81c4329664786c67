"""Change of the model of a library in Milvus (``vlar.library.maintain.upgrade.ModelChange``).

A collection of the new width is made next to the rows, and named in a record. Rows keep their ids
and versions in it, so the records of recordings stay as they are, and the manifest, which names the
collection of rows, switches to it in one entity. Readers use the old one until then. The record
also names the old collection; what a killed change leaves is deleted by the next writer, or used
where the same change is asked for again and nothing was written in between.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vlar.library.maintain.upgrade import (
    Convert,
    ModelChange,
)
from vlar.library.manifest import LibraryManifest
from vlar.library.rows import RowBatch, RowFilter
from vlar.library.store.values import KnownVideo
from vlar.plugins.milvus import layout
from vlar.plugins.milvus.client import batch_size
from vlar.plugins.milvus.serialization import CONTEXT, found_rows, row_bytes, rows_again
from vlar.plugins.milvus.writer import MilvusWriter
from vlar.types import Float32

_KEY = "change"


class MilvusChange(ModelChange):
    """Rows wait in a second collection."""

    by_map = True

    def __init__(self, writer: MilvusWriter) -> None:
        self._writer, self._connection = writer, writer.connection
        self._target = self._name = ""

    def begin(self, target: LibraryManifest) -> None:
        writer, connection = self._writer, self._connection
        wanted = {"fingerprint": target.fingerprint, "generation": writer.state.generation}
        note = self._note()
        self._name = str(note.get("new"))
        names = connection.collections()
        if {key: note.get(key) for key in wanted} == wanted and self._name in names:
            connection.load(self._name)
            return
        self.clear()
        self._name = layout.new_name(connection)
        note = {"new": self._name, "old": connection.rows, **wanted}
        connection.upsert(connection.records, [layout.record(_KEY, _KEY, note)])
        facts = connection.index_facts(connection.rows, "vector")
        index = layout.name_of(facts), writer.counts()[1]
        layout.create_rows(connection, self._name, target.dim, *index)

    def staged(self, video: KnownVideo, rows: RowBatch) -> Float32 | None:
        fields = [*layout.ROW_FIELDS, layout.MARK]
        entities = self._connection.get(self._name, rows.ids.tolist(), fields)
        is_encoded = not any(entity[layout.MARK] for entity in entities)
        if len(entities) < len(rows.ids) or not is_encoded:
            return None
        order = sorted(entities, key=lambda entity: int(entity["id"]))
        staged = self._writer.rows_read().checked(found_rows(order), len(order[0]["vector"]))
        return staged.wide if staged.ids.tolist() == rows.ids.tolist() else None

    def stage(self, video: KnownVideo, rows: RowBatch, vectors: Float32) -> None:
        self._put(rows, vectors, [False] * len(rows.ids))

    def commit(self, target: LibraryManifest, convert: Convert) -> None:
        writer, connection = self._writer, self._connection
        manifest = LibraryManifest.of(writer)
        assert manifest is not None
        writer.damaged.clear()
        for batch in writer.scan(manifest.dim, RowFilter()):
            rows = batch.batch
            if len(rows.ids):
                vectors, marks = convert(rows)
                self._put(rows, vectors, marks.tolist())
        connection.flush(self._name)
        lost = {video_id for video_id, *_ in writer.rows_read().places(sorted(writer.damaged))}
        connection.upsert(
            connection.records, [layout.library_record(writer.library_id, layout.FORMAT)]
        )
        old, connection.rows = connection.rows, self._name
        try:
            with writer.transaction():
                writer.set_meta(target.to_meta())
                for record in list(writer.catalog().all().values()):
                    if record.contexts:  # of the earlier model
                        writer.change(replace(record, contexts=0, context_bytes=0))
                    if record.id in lost:  # damaged rows have nothing to be mapped from
                        writer.read_again(record.path)
        except BaseException:
            connection.rows = old
            raise
        writer.width = target.dim

    def _put(self, rows: RowBatch, vectors: Float32, marks: Sequence[bool]) -> None:
        entities = rows_again(rows, vectors, marks)
        step = batch_size(row_bytes(vectors))
        for start in range(0, len(entities), step):
            self._writer.lease.require()
            self._connection.upsert(self._name, entities[start : start + step])

    def clear(self) -> None:
        """Drop the collection that does not answer, and with the old one what belonged to it."""
        connection, note = self._connection, self._note()
        if not note:
            return
        self._writer.lease.require()
        if note["new"] == connection.rows:
            connection.delete_where(connection.blobs, f'kind == "{CONTEXT}"')
        names = connection.collections()
        for name in (note["new"], note["old"]):
            if name != connection.rows and name in names:
                connection.drop(name)
        connection.delete(connection.records, [_KEY])

    def _note(self) -> dict[str, Any]:
        """The record of a change that was begun; empty without one."""
        entities = self._connection.get(self._connection.records, [_KEY], ["doc"])
        return json.loads(entities[0]["doc"]) if entities else {}

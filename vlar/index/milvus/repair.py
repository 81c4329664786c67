"""Repair and compaction of a library in Milvus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vlar.index.maintenance.compact import CompactReport
from vlar.index.maintenance.verify import LibraryFault
from vlar.index.milvus import indexes
from vlar.index.milvus.client import MilvusConnection, listed
from vlar.index.milvus.layout import Layout
from vlar.index.milvus.stored import CONTEXT
from vlar.index.milvus.upkeep import bytes_of
from vlar.index.milvus.writer import MilvusWriter
from vlar.index.store.schema import READ_AGAIN


def repaired(writer: MilvusWriter, fault: LibraryFault) -> LibraryFault:
    """The fault after its repair: with ``repaired`` where it is gone, and what remains to do.

    Damaged rows are deleted, and their recordings are marked: the next ``vlar index add`` of them
    reads the files again.
    """
    if fault.kind not in ("row", "context", "empty", "incomplete"):
        return fault
    recording = writer.at_path(fault.path)
    video_id = None if recording is None else recording.id
    with writer.transaction():
        if fault.kind == "row":
            writer.connection.delete(writer.layout.rows, fault.ids)
            if video_id is not None:
                writer.rows_deleted(video_id, len(fault.ids))
        if fault.kind == "context":
            where = f'kind == "{CONTEXT}" and row_id in {listed(fault.ids)}'
            writer.connection.delete_where(writer.layout.blobs, where)
        if video_id is None:
            return replace(fault, repaired=True)
        writer.read_again(video_id, READ_AGAIN)
    how = "its file is gone: bring it back and add it again"
    if Path(fault.path).exists():
        how = f"read it again: vlar index add {writer.address} {fault.path}"
    message = f"{fault.path}: {fault.kind} repaired; {how}"
    return replace(fault, repaired=fault.kind in ("row", "context"), message=message)


def compacted(
    connection: MilvusConnection, layout: Layout, rows: int, retrain: bool, kind: str | None
) -> CompactReport:
    """Build the index that is asked for, merge segments; readers wait while an index is built.

    Args:
        connection: To Milvus.
        layout: Of the library.
        rows: Number of rows.
        retrain: Build the index again.
        kind: Name of the index; ``auto`` for the one that suits the rows, None for no other one.
    """
    before = bytes_of(connection)
    there = layout.rows in connection.collections()
    index = indexes.name_of(connection.index_facts(layout.rows, "vector")) if there else "flat"
    wanted = index
    if kind == indexes.AUTO:
        wanted = indexes.recommended(rows, connection.is_lite)
    elif kind is not None:
        wanted = indexes.checked(kind, connection.is_lite)
    built = there and (retrain or wanted != index)
    if there:
        connection.flush(layout.rows)
    if built:
        connection.drop_index(layout.rows, "vector")
        params = indexes.build_params(wanted, rows)
        connection.index(layout.rows, [{"field_name": "vector", **params}])
    for name in (layout.records, layout.blobs, *([layout.rows] if there else [])):
        connection.compact(name)
    after = bytes_of(connection)
    return CompactReport(rows, 0, before, after, f"milvus {wanted}", bool(built))

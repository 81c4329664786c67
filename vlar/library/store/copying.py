"""Rows and annotations of a recording, written for another one or into another library."""

from __future__ import annotations

from vlar.library.rows import RowBatch, RowFilter
from vlar.library.store.annotations import Caption, KeptFrames, LostFrames, RecordingLabels
from vlar.library.store.base import LibraryStore, LibraryWriter


def copy_within(writer: LibraryWriter, source_id: int, video_id: int, dim: int) -> int:
    """Give a recording the rows and annotations of another one; returns how many rows."""
    count = 0
    for rows in writer.scan(dim, RowFilter(frozenset([source_id]))):
        copy_rows(writer, rows.batch, writer, video_id)
        count += len(rows.ids)
    copy_annotations(writer, source_id, writer, video_id)
    return count


def copy_rows(source: LibraryStore, rows: RowBatch, target: LibraryWriter, video_id: int) -> None:
    """Write rows of one recording, with their contexts, in the order of their ids.

    ``source`` has the rows; ``video_id`` is the recording in ``target``.
    """
    if not len(rows.ids):
        return
    ids = rows.ids.tolist()
    tokens = dict(zip(*map(list, source.contexts(ids)), strict=True))
    contexts = [tokens.get(row_id) for row_id in ids] if tokens else []
    mapped = source.mapped(ids)
    marks = [row_id in mapped for row_id in ids] if mapped else []
    target.insert_rows(video_id, rows.windows, rows.vectors, rows.persons, contexts, marks)


def copy_annotations(
    source: LibraryStore, source_id: int, target: LibraryWriter, video_id: int
) -> None:
    """Write the captions, the shares of lost frames and the labels of a recording."""
    target.annotate(Caption, video_id, source.annotations(Caption, [source_id]))
    target.annotate(LostFrames, video_id, source.annotations(LostFrames, [source_id]))
    for kind in (RecordingLabels, KeptFrames):
        if annotations := source.annotations(kind, [source_id]):
            target.annotate(kind, video_id, annotations)

"""Copy recordings from one library to another, or within one, with all that belongs to them."""

from __future__ import annotations

from vlar.index.rows import RowFilter
from vlar.index.store.annotations import Caption, LostFrames
from vlar.index.store.base import LibraryStore, LibraryWriter
from vlar.index.store.row_check import CheckedRows
from vlar.types import Window


def copy_within(writer: LibraryWriter, source_id: int, video_id: int, dim: int) -> int:
    """Give a recording the rows and annotations of another one; returns how many rows."""
    count = 0
    for rows in writer.scan(dim, RowFilter(frozenset([source_id]))):
        copy_rows(writer, rows, writer, video_id)
        count += len(rows.ids)
    copy_annotations(writer, source_id, writer, video_id)
    return count


def copy_rows(
    source: LibraryStore, rows: CheckedRows, target: LibraryWriter, video_id: int
) -> None:
    """Write rows of one recording, with their contexts, in the order of their ids.

    Args:
        source: Has the rows.
        rows: N rows.
        target: Gets them, in a transaction.
        video_id: The recording there.
    """
    if not len(rows.ids):
        return
    ids = rows.ids.tolist()
    windows = [Window(*span) for span in rows.times_s.tolist()]
    people = [rows.people.get(row_id) for row_id in ids] if rows.people else []
    tokens = dict(zip(*map(list, source.contexts(ids)), strict=True))
    contexts = [tokens.get(row_id) for row_id in ids] if tokens else []
    target.insert_rows(video_id, windows, rows.wide, people, contexts)


def copy_annotations(
    source: LibraryStore, source_id: int, target: LibraryWriter, video_id: int
) -> None:
    """Write the captions and the shares of lost frames of a recording."""
    target.annotate(Caption, video_id, source.annotations(Caption, [source_id]))
    target.annotate(LostFrames, video_id, source.annotations(LostFrames, [source_id]))

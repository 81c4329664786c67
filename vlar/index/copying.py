"""Copy recordings from one library to another, or within one, with all that belongs to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from vlar.index.rows import RowFilter, RowPerson
from vlar.index.store.base import LibraryStore
from vlar.index.store.changes import LibraryWriter
from vlar.index.store.row_check import CheckedRows
from vlar.types import Window


def copy_within(writer: LibraryWriter, source_id: int, video_id: int, dim: int) -> None:
    """Give a recording the rows, contexts, captions and lost frames of another one."""
    for rows in writer.scan(dim, RowFilter(frozenset([source_id]))):
        copy_rows(writer, rows, writer, video_id)
    copy_side(writer, source_id, writer, video_id)


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
    people = _people(ids, rows.people)
    target.insert_rows(video_id, windows, rows.wide, people)
    with_context, tokens = source.contexts(ids)
    if len(with_context):
        places = np.searchsorted(rows.ids, with_context).tolist()
        shown = [people[at] for at in places] if people else ()
        target.insert_contexts(video_id, [windows[at] for at in places], tokens, shown)


def copy_side(source: LibraryStore, source_id: int, target: LibraryWriter, video_id: int) -> None:
    """Write the captions and the shares of lost frames of a recording."""
    by_maker: dict[str, list[tuple[Window, str]]] = defaultdict(list)
    for start_s, end_s, text, made_by in source.caption_entries(source_id):
        by_maker[made_by].append((Window(start_s, end_s), text))
    for made_by, captions in by_maker.items():  # a recording has those of one captioner
        target.keep_captions(video_id, captions, made_by)
    lost = [(Window(s, e), share) for s, e, share in source.lost_entries(source_id)]
    target.keep_lost(video_id, lost)


def _people(ids: Iterable[int], people: Mapping[int, RowPerson]) -> list[RowPerson | None]:
    """Whom each row shows; empty where all are whole frames."""
    return [people.get(row_id) for row_id in ids] if people else []

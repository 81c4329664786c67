"""What windows are said to show: captions, kept by recording and time.

The table is made when there is something to keep, so libraries of any format can have it. Rows of a
recording may be encoded again by another model: its captions stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlar.characters import without
from vlar.index.store.database import Store
from vlar.index.store.writer import StoreWriter
from vlar.types import Window

_TABLE = """CREATE TABLE IF NOT EXISTS captions (
    video_id INTEGER NOT NULL,
    start_s REAL NOT NULL,
    end_s REAL NOT NULL,
    text TEXT NOT NULL,
    made_by TEXT NOT NULL,
    PRIMARY KEY (video_id, start_s, end_s)
) WITHOUT ROWID"""
_EXISTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'captions'"
_OF_ROWS = (
    "SELECT rows.id, captions.text FROM rows JOIN captions ON captions.video_id = rows.video_id "
    "AND captions.start_s = rows.start_s AND captions.end_s = rows.end_s"
)
_MOST_CHARACTERS = 4_000


def keep_captions(
    writer: StoreWriter, video_id: int, captions: Iterable[tuple[Window, str]], made_by: str
) -> None:
    """Keep the captions of a video's windows in place of earlier ones, inside a transaction.

    Args:
        writer: The library.
        video_id: Of the recording.
        captions: Windows with their text; an empty text is kept too: the window was looked at.
        made_by: Name of the captioner.
    """
    found = [
        (video_id, w.start_s, w.end_s, text[:_MOST_CHARACTERS], made_by) for w, text in captions
    ]
    forget_captions(writer, [video_id])
    if found:
        writer.connection.execute(_TABLE)
        writer.connection.executemany("INSERT OR REPLACE INTO captions VALUES (?,?,?,?,?)", found)


def copy_captions(writer: StoreWriter, source_id: int, video_id: int) -> None:
    """Give a video the captions of another with the same content, inside a transaction."""
    if writer.fetch(_EXISTS):
        writer.connection.execute(
            "INSERT OR REPLACE INTO captions SELECT ?, start_s, end_s, text, made_by FROM captions "
            "WHERE video_id = ?",
            (video_id, source_id),
        )


def forget_captions(writer: StoreWriter, video_ids: Sequence[int]) -> None:
    """Delete the captions of videos, inside a transaction."""
    if writer.fetch(_EXISTS):
        rows = ((video_id,) for video_id in video_ids)
        writer.connection.executemany("DELETE FROM captions WHERE video_id = ?", rows)


def captions_of(store: Store, row_ids: Sequence[int]) -> dict[int, str]:
    """Captions of rows by row id; a row without one is left out."""
    if not store.fetch(_EXISTS):
        return {}
    return _clean(store.fetch_in(f"{_OF_ROWS} WHERE rows.id IN", row_ids))


def caption_entries(store: Store, video_id: int) -> list[tuple[float, float, str, str]]:
    """Start, end, text and captioner of each window of a recording that was captioned."""
    if not store.fetch(_EXISTS):
        return []
    query = "SELECT start_s, end_s, text, made_by FROM captions WHERE video_id = ? ORDER BY 1, 2"
    found = store.fetch(query, (video_id,))
    return [(s, e, text, by) for s, e, text, by in found if isinstance(text, str)]


def all_captions(store: Store) -> dict[int, str]:
    """Captions of all rows by row id."""
    return _clean(store.fetch(_OF_ROWS)) if store.fetch(_EXISTS) else {}


def captioned_paths(store: Store) -> set[str]:
    """The recordings whose windows were captioned."""
    if not store.fetch(_EXISTS):
        return set()
    query = "SELECT path FROM videos WHERE id IN (SELECT video_id FROM captions)"
    return {path for (path,) in store.fetch(query)}


def _clean(found: Iterable[tuple[object, ...]]) -> dict[int, str]:
    """Texts without what acts on a terminal: a library may come from anybody."""
    return {
        row_id: without(text[:_MOST_CHARACTERS])
        for row_id, text in found
        if isinstance(row_id, int) and isinstance(text, str) and text.strip()
    }

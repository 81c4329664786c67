"""Which share of a window's frames is lost: kept for windows of damaged recordings alone.

The table is made when there is something to keep, so libraries of any format can have it.
"""

from __future__ import annotations

from collections.abc import Iterable

from vlar.index.store.database import Store
from vlar.index.store.writer import StoreWriter
from vlar.types import Window

_TABLE = """CREATE TABLE IF NOT EXISTS lost_frames (
    video_id INTEGER NOT NULL,
    start_s REAL NOT NULL,
    end_s REAL NOT NULL,
    share REAL NOT NULL,
    PRIMARY KEY (video_id, start_s, end_s)
) WITHOUT ROWID"""
_EXISTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'lost_frames'"


def keep_lost(writer: StoreWriter, video_id: int, lost: Iterable[tuple[Window, float]]) -> None:
    """Keep the shares of a video's windows in place of earlier ones, inside a transaction."""
    rows = [(video_id, window.start_s, window.end_s, share) for window, share in lost if share > 0]
    if writer.fetch(_EXISTS):
        writer.connection.execute("DELETE FROM lost_frames WHERE video_id = ?", (video_id,))
    if rows:
        writer.connection.execute(_TABLE)
        writer.connection.executemany("INSERT OR REPLACE INTO lost_frames VALUES (?,?,?,?)", rows)


def copy_lost(writer: StoreWriter, source_id: int, video_id: int) -> None:
    """Give a video the shares of another with the same content, inside a transaction."""
    if writer.fetch(_EXISTS):
        writer.connection.execute(
            "INSERT OR REPLACE INTO lost_frames "
            "SELECT ?, start_s, end_s, share FROM lost_frames WHERE video_id = ?",
            (video_id, source_id),
        )


def lost_entries(store: Store, video_id: int) -> list[tuple[float, float, float]]:
    """Start, end and share of each window of a recording that lost frames."""
    if not store.fetch(_EXISTS):
        return []
    query = "SELECT start_s, end_s, share FROM lost_frames WHERE video_id = ? ORDER BY 1, 2"
    return [(s, e, share) for s, e, share in store.fetch(query, (video_id,))]


def greatest_lost(store: Store, spans: Iterable[tuple[int, float, float]]) -> list[float]:
    """The greatest share among the windows that overlap each span (video id, start, end)."""
    spans = list(spans)
    if not store.fetch(_EXISTS):
        return [0.0] * len(spans)
    query = "SELECT max(share) FROM lost_frames WHERE video_id = ? AND start_s < ? AND end_s > ?"
    found = [store.fetch(query, (video, end_s, start_s))[0][0] for video, start_s, end_s in spans]
    return [min(max(share, 0.0), 1.0) if isinstance(share, float) else 0.0 for share in found]

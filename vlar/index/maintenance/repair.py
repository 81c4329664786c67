"""Remove what ``verify`` found, as far as the library itself has what is needed.

Damaged rows are deleted, and their recordings are marked: the next ``vlar index add`` of them reads
the files again. Values that nothing depends on are set again. A damaged cache is deleted; the next
query builds it again. Damaged pages and an unusable manifest are left for a copy of the folder.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from vlar.index.maintenance.verify import LibraryFault
from vlar.index.search_cache import cache_file
from vlar.index.store import lock, schema, values
from vlar.index.store.row_check import MOST_ID
from vlar.index.store.sqlite import NO_FILE
from vlar.index.store.trust import not_plain
from vlar.index.store.writer import SqliteWriter

_FINE = (("generation", "0"), ("library_id", "0"))


def repair(writer: SqliteWriter, fault: LibraryFault) -> LibraryFault:
    """The fault after its repair: with ``repaired`` where it is gone, and what remains to do."""
    if fault.kind == "cache":
        _delete(writer.file.parent / cache_file.FILE_NAME)
        return replace(fault, repaired=True)
    if fault.kind == "lock":
        return replace(fault, repaired=True)  # ``remove_lock``: without a lock nothing is written
    way = _WAYS.get(fault.kind)
    if way is None or (fault.kind == "manifest" and not fault.ids):
        return fault
    with writer.transaction():
        left = way(writer, fault)
    # A recording without rows has none before it is read again.
    return replace(fault, repaired=fault.kind != "empty", message=left or fault.message)


def remove_lock(folder: Path) -> None:
    """Delete what stands in place of the lock and is not an empty file."""
    for file in folder.glob(f"{lock.FILE_NAME}*"):
        if not_plain(file) or (file.name == lock.FILE_NAME and file.stat().st_size):
            _delete(file)


def _rows(writer: SqliteWriter, fault: LibraryFault) -> str:
    writer.delete_rows(fault.ids)
    return _read_again(writer, fault, f"{_count(fault.ids, 'damaged row')} deleted")


def _contexts(writer: SqliteWriter, fault: LibraryFault) -> str:
    writer.connection.executemany(
        "DELETE FROM contexts WHERE row_id = ?", [(row_id,) for row_id in fault.ids]
    )
    return _read_again(writer, fault, f"{_count(fault.ids, 'damaged context')} deleted")


def _empty(writer: SqliteWriter, fault: LibraryFault) -> str:
    return _read_again(writer, fault, "has no rows")


def _read_again(writer: SqliteWriter, fault: LibraryFault, done: str) -> str:
    """Mark the recording of a fault, where its file is there."""
    folder = writer.file.parent
    if not values.is_path(fault.path) or not writer.fetch(
        "SELECT 1 FROM videos WHERE path = ?", (fault.path,)
    ):
        return f"{fault.path}: {done}"
    with suppress(OSError, ValueError):
        if Path(fault.path).exists():
            writer.read_again(fault.path)
            return f"{fault.path}: {done}; read it again: vlar index add {folder} {fault.path}"
    return f"{fault.path}: {done}; its file is gone: bring it back and add it again"


def _recordings(writer: SqliteWriter, fault: LibraryFault) -> str:
    """Set values of a recording again; one without a usable path is deleted."""
    for video_id in fault.ids:
        (row,) = writer.fetch(f"SELECT {values.RECORDING} FROM videos WHERE id = ?", (video_id,))
        faults = values.recording_faults(row)
        if "path" in faults or not 0 < video_id < MOST_ID:
            writer.delete([video_id])
            continue
        new = {
            "content_hash": schema.READ_AGAIN,
            "size": 0 if Path(row[1]).exists() else NO_FILE.size,
            "mtime_ns": 0,
            "duration_s": _end_s(writer, video_id),
            "unreadable_windows": 0,
            "added_at_s": time.time(),
        }
        for column in faults:
            writer.connection.execute(
                f"UPDATE videos SET {column} = ? WHERE id = ?", (new[column], video_id)
            )
    return ""


def _end_s(writer: SqliteWriter, video_id: int) -> float:
    found = writer.fetch("SELECT max(end_s) FROM rows WHERE video_id = ?", (video_id,))[0][0]
    return found if values.is_length(found) else 0.0


def _tags(writer: SqliteWriter, fault: LibraryFault) -> str:
    del fault
    for video_id, key, value in writer.fetch("SELECT video_id, key, value FROM tags"):
        if not (isinstance(video_id, int) and values.is_text(key) and values.is_text(value)):
            raw = key.encode(errors="replace") if isinstance(key, str) else key
            writer.connection.execute(
                "DELETE FROM tags WHERE video_id = ? AND CAST(key AS BLOB) = CAST(? AS BLOB)",
                (video_id, raw),
            )
    return ""


def _orphans(writer: SqliteWriter, fault: LibraryFault) -> str:
    del fault
    writer.delete_orphans()
    return ""


def _manifest(writer: SqliteWriter, fault: LibraryFault) -> str:
    """Set counters of the manifest again; every cache is older than the new ones."""
    del fault
    for key, value in writer.fetch("SELECT key, value FROM meta"):
        if values.manifest_faults([*_FINE, (key, value)]):
            raw = key.encode() if isinstance(key, str) else key
            writer.connection.execute(
                "DELETE FROM meta WHERE CAST(key AS BLOB) = CAST(? AS BLOB)", (raw,)
            )
    keys = {key for (key,) in writer.fetch("SELECT key FROM meta")}
    if "generation" not in keys:
        writer.connection.execute("DELETE FROM tombstones")
        writer.set_meta({"generation": "1", "compacted_at": "1"})
    writer.set_meta({"library_id": secrets.token_hex(16)})  # no cache belongs to it
    writer.connection.execute(
        "UPDATE sqlite_sequence SET seq = CASE name "
        "WHEN 'rows' THEN (SELECT coalesce(max(id), 0) FROM rows WHERE id < ?) "
        "ELSE (SELECT coalesce(max(id), 0) FROM videos WHERE id < ?) END",
        (MOST_ID, MOST_ID),
    )
    _delete(writer.file.parent / cache_file.FILE_NAME)
    return ""


def _count(ids: Sequence[int], what: str) -> str:
    return f"{len(ids)} {what}{'' if len(ids) == 1 else 's'}"


def _delete(path: Path) -> None:
    """Delete a file, a link or a FIFO; of a folder, all of it."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)


_WAYS = {
    "row": _rows,
    "context": _contexts,
    "empty": _empty,
    "recording": _recordings,
    "tag": _tags,
    "orphan": _orphans,
    "manifest": _manifest,
}

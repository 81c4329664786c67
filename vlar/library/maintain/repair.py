"""The repair of what ``vlar.library.maintain.verify`` names, one function a kind of fault.

A damaged value is set again or deleted, and the recording that it belonged to is read again by the
next ``add``. Each repair is a transaction of its own.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from vlar.formatting import counted
from vlar.library import cache
from vlar.library.folder import delete_whatever
from vlar.library.maintain.verify import LibraryFault
from vlar.library.store import schema, values
from vlar.library.store.row_check import MOST_ID
from vlar.library.store.values import NO_FILE
from vlar.library.store.writer import SqliteWriter

_SOUND_FACTS = (("generation", "0"), ("library_id", "0"))  # of a manifest


def _repair_rows(writer: SqliteWriter, fault: LibraryFault) -> str:
    writer.delete_rows(fault.ids)
    return _read_again(writer, fault, f"{counted(len(fault.ids), 'damaged rows')} deleted")


def _repair_contexts(writer: SqliteWriter, fault: LibraryFault) -> str:
    writer.connection.executemany(
        "DELETE FROM contexts WHERE row_id = ?", [(row_id,) for row_id in fault.ids]
    )
    return _read_again(writer, fault, f"{counted(len(fault.ids), 'damaged contexts')} deleted")


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


def _repair_recordings(writer: SqliteWriter, fault: LibraryFault) -> str:
    """Set values of a recording again; one without a usable path is deleted."""
    for video_id in fault.ids:
        (row,) = writer.fetch(f"SELECT {values.RECORDING} FROM videos WHERE id = ?", (video_id,))
        faults = values.recording_faults(row)
        if "path" in faults or not 0 < video_id < MOST_ID:
            writer.delete([video_id])
            continue
        query = "SELECT max(end_s) FROM rows WHERE video_id = ?"
        end_s = writer.fetch(query, (video_id,))[0][0]
        new = {
            "content_hash": schema.READ_AGAIN,
            "size": 0 if Path(row[1]).exists() else NO_FILE.size,
            "mtime_ns": 0,
            "duration_s": end_s if values.is_length(end_s) else 0.0,
            "unreadable_windows": 0,
            "added_at_s": time.time(),
        }
        for column in faults:
            writer.connection.execute(
                f"UPDATE videos SET {column} = ? WHERE id = ?", (new[column], video_id)
            )
    return ""


def _repair_tags(writer: SqliteWriter, _: LibraryFault) -> str:
    for video_id, key, value in writer.fetch("SELECT video_id, key, value FROM tags"):
        if not (isinstance(video_id, int) and values.is_text(key) and values.is_text(value)):
            raw = key.encode(errors="replace") if isinstance(key, str) else key
            writer.connection.execute(
                "DELETE FROM tags WHERE video_id = ? AND CAST(key AS BLOB) = CAST(? AS BLOB)",
                (video_id, raw),
            )
    return ""


def _delete_orphans(writer: SqliteWriter, _: LibraryFault) -> str:
    writer.delete_orphans()
    return ""


def _repair_manifest(writer: SqliteWriter, _: LibraryFault) -> str:
    """Set counters of the manifest again; every cache is older than the new ones."""
    for key, value in writer.fetch("SELECT key, value FROM meta"):
        if values.manifest_faults([*_SOUND_FACTS, (key, value)]):
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
    return ""


#: What repairs each kind; it gives the message that replaces the fault's, or none.
_REPAIRS: Mapping[str, Callable[[SqliteWriter, LibraryFault], str]] = {
    "row": _repair_rows,
    "context": _repair_contexts,
    "empty": partial(_read_again, done="has no rows"),
    "recording": _repair_recordings,
    "tag": _repair_tags,
    "orphan": _delete_orphans,
    "manifest": _repair_manifest,
}


def repaired(writer: SqliteWriter, fault: LibraryFault) -> LibraryFault:
    """A fault after its repair: gone, or with what remains to do."""
    if fault.kind == "cache":
        delete_whatever(cache.file_of(writer))
        return replace(fault, repaired=True)
    if fault.kind == "lock":
        return replace(fault, repaired=True)  # ``repair_lock``: else nothing is written
    repair = _REPAIRS.get(fault.kind)
    if repair is None or (fault.kind == "manifest" and not fault.ids):
        return fault
    with writer.transaction():
        message = repair(writer, fault)
    # A recording without rows has none before it is read again.
    return replace(fault, repaired=fault.kind != "empty", message=message or fault.message)

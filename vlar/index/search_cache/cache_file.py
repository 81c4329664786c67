"""The file ``ann.faiss``: the index of an engine, the columns of its rows, and a description.

Any FAISS tool opens the file of a FAISS engine; vlar adds to its bytes the columns of the rows, a
JSON line and a fixed end mark. The JSON line has its own checksum. The checksum of all the rest is
checked at every opening of a small file. A large file is mapped into memory and not read, so only
``vlar index verify`` checks it: a flipped bit there can hide a row, but never change a score.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from vlar.index.rows import RowTable
from vlar.index.store.row_check import MOST_ID
from vlar.index.store.trust import not_plain

FILE_NAME = "ann.faiss"
_MAGIC = b"vlar-ann-cache-2"
_END = struct.Struct("<QQQ16s")  # bytes of the columns, of the JSON line, its CRC-32, mark
_CHECKED_BYTES = 64 << 20
_MOST_FACT_BYTES = 64 << 20
_COPY_BYTES = 8 << 20
_LEFT_BEHIND_S = 3600.0


@dataclass(frozen=True)
class Header:
    """The description in a cache file, and the columns of its rows."""

    facts: Mapping[str, Any]
    table: RowTable


def read_header(path: Path) -> Header:
    """The facts and columns of a cache file, mapped into memory.

    Raises:
        ValueError: not a file of its own, cut, changed, or of another version. Also OSError,
            KeyError, struct.error.
    """
    if reason := not_plain(path):
        raise ValueError(reason)
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - _END.size, 0))
        column_bytes, fact_bytes, crc32, magic = _END.unpack(file.read())
        facts_at = size - _END.size - fact_bytes
        columns_at = facts_at - column_bytes
        if magic != _MAGIC or columns_at < 0 or fact_bytes > _MOST_FACT_BYTES:
            raise ValueError("no end mark")
        file.seek(facts_at)
        line = file.read(fact_bytes)
    if zlib.crc32(line) != crc32:
        raise ValueError("its description is changed")
    facts: Any = json.loads(line)
    if not isinstance(facts, dict) or not _are_usable(facts):
        raise ValueError("its description is not one")
    if columns_at != facts["bytes"] or column_bytes != 32 * facts["rows"]:
        raise ValueError("its size is changed")
    if facts_at <= _CHECKED_BYTES and checksum(path, facts_at) != facts["crc32"]:
        raise ValueError("its content is changed")
    table = _mapped(path, columns_at, facts["rows"])
    if not _is_rising(table):
        raise ValueError("its rows are not in order")
    return Header(facts, table)


def _are_usable(facts: dict[str, Any]) -> bool:
    """Return whether the description has the values that every cache has."""
    counts = [facts.get(key) for key in ("generation", "dim", "rows", "bytes", "crc32")]
    damaged = facts.get("damaged", [])
    return (
        all(_is_count(count) for count in counts)
        and all(isinstance(facts.get(key), str) for key in ("library_id", "type"))
        and isinstance(facts.get("index"), dict)
        and isinstance(damaged, list)
        and all(isinstance(row_id, int) for row_id in cast("list[object]", damaged))
    )


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < MOST_ID


def _is_rising(table: RowTable) -> bool:
    ids = table.ids
    return not len(ids) or bool(ids[0] > 0 and ids[-1] < MOST_ID and (ids[1:] > ids[:-1]).all())


def is_whole(path: Path, facts: Mapping[str, Any]) -> bool:
    """Return whether the content, however large, is what was written."""
    return checksum(path, facts["bytes"] + 32 * facts["rows"]) == facts["crc32"]


def checksum(path: Path, size: int) -> int:
    """CRC-32 of the first bytes of a file."""
    value = 0
    with path.open("rb") as file:
        while size > 0 and (piece := file.read(min(size, _COPY_BYTES))):
            value = zlib.crc32(piece, value)
            size -= len(piece)
    return value


def write(
    path: Path, table: RowTable, facts: Mapping[str, Any], write_index: Callable[[Path], bool]
) -> bool:
    """Replace a cache file as a whole; False where the index cannot be written.

    Raises:
        OSError: a read-only or full disk.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".ann-", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        if not write_index(temporary):
            return False
        size = -(-temporary.stat().st_size // 8) * 8  # columns of numbers begin at a multiple of 8
        os.truncate(temporary, size)
        with temporary.open("ab") as file:
            for column in table.columns:
                file.write(np.ascontiguousarray(column).data)
        crc32 = checksum(temporary, size + 32 * len(table))
        described = {**facts, "rows": len(table), "bytes": size, "crc32": crc32}
        line = json.dumps(described).encode()
        with temporary.open("ab") as file:
            file.write(line + _END.pack(32 * len(table), len(line), zlib.crc32(line), _MAGIC))
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return True


def clear_left_behind(folder: Path) -> int:
    """Delete half-written files of killed processes, an hour old or older; returns how many."""
    cleared = 0
    for temporary in folder.glob(".ann-*.tmp"):
        with suppress(OSError):
            if time.time() - temporary.stat().st_mtime > _LEFT_BEHIND_S:
                temporary.unlink()
                cleared += 1
    return cleared


def _mapped(path: Path, start: int, rows: int) -> RowTable:
    if rows == 0:
        return RowTable.empty()

    def column(place: int, kind: type[Any]) -> Any:
        return np.asarray(np.memmap(path, kind, "r", start + 8 * rows * place, (rows,)))

    kinds = (np.int64, np.int64, np.float64, np.float64)
    ids, video_ids, starts_s, ends_s = (column(*each) for each in enumerate(kinds))
    return RowTable(ids, video_ids, starts_s, ends_s)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

"""Rows as they must be: of the right types, unchanged, and vectors of unit length.

SQLite keeps any value in any column, a disk may flip a bit, and a library may come from anybody. So
every row is checked when it is read, for an answer as for an engine: its checksum (CRC-32 of times
and vector, and of a person's track and box), its times, the length of its vector, its box. Rows
that fail are left out and reported.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vlar.library.rows import Float16, Int64, RowBatch, RowPerson
from vlar.library.store import schema
from vlar.types import Float32, Float64, Window

STORED = np.dtype("<f2")
COLUMNS = "id, video_id, start_s, end_s, vector, checksum, track, box"
MOST_ID = 1 << 53  # of rows, recordings and generations: no library gets as far
MOST_SECONDS = 1e10
_TIMES = np.dtype("<f8")
_ROW_TIMES = np.dtype("V16")  # both times of a row as bytes
_BOX = np.dtype("<f4")
_SQUARED = (0.98, 1.02)  # of the length of a unit vector, after rounding to float16; 0: blank
NO_RECORDING = "it belongs to no recording"
FoundRow = tuple[Any, ...]  # of COLUMNS


@dataclass(frozen=True)
class CheckedRows:
    """Rows without damage, in the order they were given; all arrays have N entries.

    Attributes:
        ids: Ids of the rows.
        video_ids: Video ids of their recordings.
        times_s: (N, 2) start and end in seconds.
        vectors: (N, D) as stored.
        wide: The same as float32, which the check needs too.
        damaged: The other rows: what is wrong, by id.
        people: People that rows show, by row id; whole frames are not among them.
    """

    ids: Int64
    video_ids: Int64
    times_s: Float64
    vectors: Float16
    wide: Float32
    damaged: dict[int, str]
    people: Mapping[int, RowPerson] = field(default_factory=dict[int, RowPerson])

    @property
    def batch(self) -> RowBatch:
        """The same, with vectors as float32."""
        spans = tuple(map(tuple, self.times_s.tolist()))
        return RowBatch(self.ids, self.video_ids, spans, self.wide, self.people)


def checked_rows(found: Sequence[FoundRow], dim: int) -> CheckedRows:
    """Rows of ``COLUMNS``; damaged ones apart."""
    rows = _all_good(found, dim)
    if rows is not None:
        return rows
    damaged: dict[int, str] = {}
    for row in found:
        reason = what_is_wrong(row, dim)
        if reason:
            damaged[row[0]] = reason
    rows = _all_good([row for row in found if row[0] not in damaged], dim)
    if rows is None:  # both ways apply the same rules; rows of one chunk may still overflow
        raise ValueError("rows that are right one by one are wrong together")
    return replace(rows, damaged=damaged)


def what_is_wrong(row: FoundRow, dim: int) -> str:
    """The reason why a row is damaged; empty where it is not."""
    row_id, video_id, start_s, end_s, blob, checksum, track, box = row
    if not 0 < row_id < MOST_ID:
        return "its id is not one that vlar gives"
    if not isinstance(video_id, int) or not 0 < video_id < MOST_ID:
        return NO_RECORDING
    if not isinstance(start_s, float) or not isinstance(end_s, float):
        return "its times are not numbers"
    if not 0 <= start_s <= end_s < MOST_SECONDS:
        return f"it cannot last from {start_s:g} to {end_s:g} s"
    if not isinstance(blob, bytes):
        return "its vector is not a blob"
    if len(blob) != dim * STORED.itemsize:
        return f"{len(blob)} bytes, not {dim * STORED.itemsize}"
    if not isinstance(checksum, int):
        return "no checksum"
    person = b""
    if track != 0 or box is not None:
        if person_of(track, box) is None:
            return "its track or its box is not one that vlar gives"
        person = schema.person_bytes(track, box)
    if checksum != schema.row_checksum(start_s, end_s, blob, person):
        return "its bits have changed"
    squared = float(_squared(np.frombuffer(blob, STORED)[None].astype(np.float32))[0])
    if not np.isfinite(squared):
        return "not a number"
    if not _is_unit(np.array([squared]))[0]:
        return f"its vector has length {squared**0.5:.3g}, not 1"
    return ""


def stored_box(person: RowPerson) -> bytes:
    """A box as it is stored."""
    return np.array(person.box, _BOX).tobytes()


def sealed(window: Window, blob: bytes, person: RowPerson | None) -> tuple[int, int, bytes | None]:
    """Checksum, track and box of a row that is to be stored."""
    if person is None:
        return schema.row_checksum(window.start_s, window.end_s, blob), 0, None
    box = stored_box(person)
    covered = schema.person_bytes(person.track, box)
    return schema.row_checksum(window.start_s, window.end_s, blob, covered), person.track, box


def person_of(track: object, box: object) -> RowPerson | None:
    """The person of the columns track and box; None where they are not those of a person."""
    if not isinstance(track, int) or not 0 < track < MOST_ID:
        return None
    if not isinstance(box, bytes) or len(box) != 4 * _BOX.itemsize:
        return None
    x1, y1, x2, y2 = np.frombuffer(box, _BOX).tolist()
    if not (0 <= x1 <= x2 <= 1 and 0 <= y1 <= y2 <= 1):  # also not a number
        return None
    return RowPerson(track, (x1, y1, x2, y2))


def context_is_whole(blob: object, checksum: object, shape: tuple[int, int]) -> bool:
    """Return whether context tokens have their shape and are unchanged."""
    size = shape[0] * shape[1] * STORED.itemsize
    if not isinstance(blob, bytes) or not size or len(blob) != size:
        return False
    return checksum == schema.row_checksum(0, 0, blob)


def _all_good(found: Sequence[FoundRow], dim: int) -> CheckedRows | None:
    """The rows where all of them are good; else None."""
    if not found:
        none, never = np.empty(0, np.int64), np.empty((0, 2), np.float64)
        vectors = np.empty((0, dim), STORED)
        return CheckedRows(none, none, never, vectors, vectors.astype(np.float32), {})
    ids, video_ids, starts, ends, blobs, checksums, tracks, boxes = zip(*found, strict=True)
    try:
        row_ids, videos = np.array(ids, np.int64), np.array(video_ids, np.int64)
        times = np.array((starts, ends), _TIMES).T.copy()
        sizes = set(map(len, blobs))
        raw = b"".join(blobs)
    except (TypeError, ValueError, OverflowError):
        return None
    if sizes != {dim * STORED.itemsize} or not _possible(row_ids, videos, times):
        return None
    crc32 = zlib.crc32
    sums = list(map(crc32, blobs, map(crc32, times.view(_ROW_TIMES)[:, 0].tolist())))
    people: dict[int, RowPerson] = {}
    if tracks.count(0) < len(found) or boxes.count(None) < len(found):
        for index, (track, box) in enumerate(zip(tracks, boxes, strict=True)):
            if track == 0 and box is None:
                continue
            person = person_of(track, box)
            if person is None:
                return None
            people[ids[index]] = person
            sums[index] = crc32(schema.person_bytes(track, box), sums[index])
    if sums != list(checksums):
        return None
    vectors = np.frombuffer(raw, STORED).reshape(len(ids), dim)
    wide = vectors.astype(np.float32)
    if not _is_unit(_squared(wide)).all():
        return None
    return CheckedRows(row_ids, videos, times, vectors, wide, {}, people)


def _possible(ids: Int64, video_ids: Int64, times_s: Float64) -> bool:
    least, most = min(ids.min(), video_ids.min()), max(ids.max(), video_ids.max())
    if least < 1 or most >= MOST_ID:
        return False
    starts, ends = times_s[:, 0], times_s[:, 1]
    return bool((starts >= 0).all() and (starts <= ends).all() and (ends < MOST_SECONDS).all())


def _squared(wide: Float32) -> Float64:
    """(N,) squared lengths of (N, D) vectors."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.einsum("ij,ij->i", wide, wide).astype(np.float64)


def _is_unit(squared: Float64) -> Any:
    low, high = _SQUARED
    return ((squared >= low) & (squared <= high)) | (squared == 0)

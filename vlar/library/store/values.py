"""Valid values of recordings, tags and the manifest: SQLite keeps any type anywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlar.errors import LibraryError
from vlar.library.store.row_check import MOST_ID, MOST_SECONDS

MOST_LETTERS = 100_000  # of a path, of a tag
_MOST_META = 1 << 22  # letters of a value of the manifest
_LATEST_S = 253_402_300_800.0  # the year 10000, in seconds since 1970
_MOST_TOKENS, _WIDEST_TOKEN = 65_536, 65_536
_LARGEST = 1 << 63
RECORDING = "id, path, content_hash, size, mtime_ns, duration_s, unreadable_windows, added_at_s"
COUNTERS = ("generation", "compacted_at")  # numbers of the manifest that count commits


@dataclass(frozen=True)
class Stamp:
    """Size and time of a file: a cheap test of whether it is unchanged."""

    size: int
    mtime_ns: int


# The size of no file: such a video is not compared with the disk.
NO_FILE = Stamp(-1, 0)


@dataclass(frozen=True)
class KnownVideo:
    """A video of the library as ``add`` needs it."""

    id: int
    path: str
    content_hash: str
    stamp: Stamp


@dataclass(frozen=True)
class RecordingFacts(KnownVideo):
    """A recording as another library keeps it too.

    Attributes:
        id: Number of the recording, in its library.
        path: Path as the library writes it.
        content_hash: Content hash of its file.
        stamp: Stamp of its file.
        duration_s: Length in seconds.
        unreadable: Windows that could not be decoded.
        added_at_s: Seconds since 1970.
    """

    duration_s: float
    unreadable: int
    added_at_s: float


def damaged(folder: Path, what: str) -> LibraryError:
    """The error for damage that ``vlar index verify --repair`` can remove."""
    return LibraryError(
        f"library {folder} is damaged ({what}); run: vlar index verify {folder} --repair"
    )


def is_text(value: object) -> bool:
    """Return whether a value is text of a usable length."""
    return isinstance(value, str) and len(value) <= MOST_LETTERS


def is_path(value: object) -> bool:
    """Return whether a value can be the path of a recording."""
    return isinstance(value, str) and 0 < len(value) <= MOST_LETTERS and "\0" not in value


def is_length(value: object) -> bool:
    """Return whether a value is a length in seconds."""
    return isinstance(value, float) and 0 <= value < MOST_SECONDS


def recording_faults(row: Sequence[Any]) -> list[str]:
    """The columns of a recording (``RECORDING``) that hold what they cannot hold."""
    _, path, content_hash, size, mtime_ns, duration_s, unreadable, added_at_s = row
    good = {
        "path": is_path(path),
        "content_hash": is_text(content_hash),
        "size": _is_int(size, -1),
        "mtime_ns": _is_int(mtime_ns, -_LARGEST),
        "duration_s": is_length(duration_s),
        "unreadable_windows": _is_int(unreadable, 0),
        "added_at_s": isinstance(added_at_s, float) and 0 <= added_at_s < _LATEST_S,
    }
    return [column for column, is_good in good.items() if not is_good]


def manifest_faults(meta: Sequence[tuple[Any, Any]]) -> list[str]:
    """The keys of the manifest that are not usable and that ``--repair`` can set again."""
    faults = [repr(key)[:80] for key, value in meta if not (is_text(key) and _is_value(value))]
    values = {key: value for key, value in meta if is_text(key) and _is_value(value)}
    if "context_shape" in values and context_shape(values) is None:
        faults.append("context_shape")
    faults += [key for key in COUNTERS if key in values and counter(values, key) is None]
    return faults + [key for key in ("generation", "library_id") if key not in values]


def counter(meta: Mapping[str, str], key: str) -> int | None:
    """A counter of the manifest; None where it is not a number that a library can reach."""
    value = meta.get(key, "")
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        return None
    return int(value) if int(value) < MOST_ID else None


def context_shape(meta: Mapping[str, str]) -> tuple[int, int] | None:
    """(k, E) of every context; (0, 0) where there is none yet, None where it is not a shape."""
    words = meta.get("context_shape", "0 0").split()
    if len(words) != 2 or not all(w.isascii() and w.isdigit() and len(w) < 6 for w in words):
        return None
    tokens, width = int(words[0]), int(words[1])
    return (tokens, width) if tokens <= _MOST_TOKENS and width <= _WIDEST_TOKEN else None


def _is_value(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MOST_META


def _is_int(value: object, least: int) -> bool:
    return isinstance(value, int) and least <= value < _LARGEST


def is_number(value: float, least: float, most: float) -> bool:
    """Return whether a number is finite and within limits, both included."""
    return math.isfinite(value) and least <= value <= most

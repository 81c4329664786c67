"""Files of event cameras: each format by its first bytes, and its records as events.

A decoder is given the bytes of some records and what the records before left behind. So any piece
of a file can be read without those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vlar.files.arrays import is_plain, names_in, read_npz
from vlar.media.events.representations import EVENT, Events, Size

_NAMES = {"x": ("x",), "y": ("y",), "t": ("t", "ts", "timestamp"), "p": ("p", "on", "polarity")}
_LARGEST_US = 1 << 60
State = tuple[int, ...]


class Decoded(NamedTuple):
    """Events of a piece of a file.

    Attributes:
        events: (L,) of ``EVENT``, their times not yet counted from the first.
        state: What the next piece needs to know.
        used: Bytes that were decoded.
        missing: Events that the piece states and does not hold.
    """

    events: Events
    state: State
    used: int
    missing: int = 0


Decode = Callable[[bytes, State, bool], Decoded]


@dataclass(frozen=True)
class Header:
    """Facts that the beginning of a file states.

    Attributes:
        format: Name of the format.
        start: Byte of the first record.
        decode: Bytes, the state before them, whether they are the end of the file.
        stream: Instead of ``decode``: all events in pieces, from a file that is read in one pass.
        size: (H, W) of the sensor; None where it is not stated.
        assumed: Facts that the file does not state.
        sorts: Whether the clock does not wrap, so that times that fall can be sorted.
        meta: More facts of the recording.
    """

    format: str
    start: int = 0
    decode: Decode | None = None
    stream: Callable[[Path], Iterator[Events]] | None = None
    size: Size | None = None
    assumed: tuple[str, ...] = ()
    sorts: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])


def header_of(path: Path, head: bytes) -> Header | None:
    """The header of a file by its first 64 KB; None where it holds no events.

    Raises:
        OSError: an archive cannot be opened.
        ValueError: it is of a known format but of a version that is not read, or damaged; the
            message is one sentence.
    """
    for recognised in (_npy, _npz, _nmnist):
        found = recognised(path, head)
        if found is not None:
            return found
    return None


def events_of(x: Any, y: Any, t: Any, p: Any, unit_us: float = 1.0) -> Events:
    """Columns of numbers as events.

    Raises:
        ValueError: a coordinate or a time is none that an event can have.
    """
    found = np.empty(len(t), EVENT)
    for name, values in (("x", x), ("y", y)):
        if len(values) and not (values.min() >= 0 and values.max() < 1 << 16):
            raise ValueError(f"its coordinates {name} are not all from 0 to 65535")
        found[name] = values
        if values.dtype.kind == "f" and (found[name] != values).any():
            raise ValueError(f"its coordinates {name} are not all whole numbers")
    if len(t) and not (abs(float(t.min())) < _LARGEST_US and abs(float(t.max())) < _LARGEST_US):
        raise ValueError("its times are not all numbers of microseconds")
    found["t"] = t if unit_us == 1 and t.dtype.kind in "iu" else np.rint(t * unit_us)
    found["p"] = p > 0
    return found


# NumPy


def _npy(path: Path, head: bytes) -> Header | None:
    if not head.startswith(b"\x93NUMPY"):
        return None
    import io

    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0
        read = read if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    except Exception as error:  # noqa: BLE001 - the header is a text in Python
        raise ValueError(f"it is not an array of NumPy ({str(error)[:80]})") from None
    columns = _columns(dtype)
    if columns is None:
        return None
    if len(shape) != 1 or not is_plain(dtype, fields=True):
        raise ValueError(f"it is an array {shape} of {dtype}; one-dimensional events are read")
    stated = int(shape[0])

    def decode(data: bytes, state: State, end: bool) -> Decoded:
        before = state[0] if state else 0
        count = min(len(data) // dtype.itemsize, stated - before)
        rows = np.frombuffer(data, dtype, count)
        missing = stated - before - count if end else 0
        used = len(data) if end else count * dtype.itemsize
        return Decoded(_structured(rows, columns), (before + count,), used, missing)

    assumed = ("unit of time",)
    return Header("npy", stream.tell(), decode, assumed=assumed, sorts=True)


def _npz(path: Path, head: bytes) -> Header | None:
    if not head.startswith(b"PK\x03\x04"):
        return None
    names = names_in(path)
    if "events" not in names and not {"x", "y", "t", "p"} <= set(names):
        return None
    arrays = read_npz(path, fields=True)
    table = arrays.get("events")
    columns = None if table is None else _columns(table.dtype)
    if table is not None and columns is not None and table.ndim == 1:
        events = _structured(table, columns)
    elif all(name in arrays and arrays[name].ndim == 1 for name in "xytp"):
        x, y, t, p = (arrays[name] for name in "xytp")
        if not len(x) == len(y) == len(t) == len(p):
            raise ValueError("its arrays x, y, t and p are not equally long")
        events = events_of(x, y, t, p, 1e6 if t.dtype.kind == "f" else 1.0)
    else:
        return None
    stated = arrays.get("size")
    size = None
    if stated is not None and stated.shape == (2,) and stated.dtype.kind in "iu":
        size = int(stated[0]), int(stated[1])
    meta = {"synthetic": True} if bool(np.any(arrays.get("synthetic", False))) else {}
    return Header(
        "npz", stream=lambda _: iter([events]), size=size, assumed=("unit of time",), sorts=True,
        meta=meta,
    )  # fmt: skip


def _columns(dtype: np.dtype[Any]) -> dict[str, str] | None:
    """The field of a structured array for each column; None where one is missing."""
    names = {name.lower(): name for name in dtype.names or ()}
    found = {
        column: names[word] for column, words in _NAMES.items() for word in words if word in names
    }
    plain = all(dtype[name].kind in "biuf" and not dtype[name].shape for name in found.values())
    return found if len(found) == len(_NAMES) and plain else None


def _structured(rows: npt.NDArray[Any], columns: Mapping[str, str]) -> Events:
    x, y, t, p = (rows[columns[name]] for name in "xytp")
    return events_of(x, y, t, p, 1e6 if t.dtype.kind == "f" else 1.0)


# Clocks that wrap


def unwrapped(raw: npt.NDArray[np.int64], bits: int, state: State) -> tuple[Any, State]:
    """Times of a counter of some bits as times that rise: a fall by over half of it is a wrap.

    Args:
        raw: (L,) as the file has them.
        bits: Of the counter.
        state: The last of them before, and the wraps so far; empty at the start.

    Returns:
        The times, and the state after them.
    """
    if not len(raw):
        return raw, state
    last, wraps = state or (int(raw[0]), 0)
    falls = np.diff(raw, prepend=last) < -(1 << (bits - 1))
    if not wraps and not falls.any():
        return raw, (int(raw[-1]), 0)
    turns = wraps + np.cumsum(falls)
    return raw + (turns << bits), (int(raw[-1]), int(turns[-1]))


# N-MNIST, N-Caltech

_NMNIST_BITS = 23
_LEAST_BYTES = 40  # of a file without a header: fewer could be anything
_TEXT = bytes([*range(32, 127), 9, 10, 13])
_SAMPLED = 2000  # records whose times must rise


def _nmnist(path: Path, head: bytes) -> Header | None:
    """Files of 5 bytes an event; they have no header, and are known by times that rise."""
    del path
    if len(head) < _LEAST_BYTES or not head.translate(None, _TEXT):
        return None
    t = _nmnist_rows(head, _SAMPLED)["t"]
    steps = np.diff(t)
    if ((steps < 0) & (steps > -(1 << (_NMNIST_BITS - 1)))).any():
        return None
    return Header("nmnist", decode=_decode_nmnist)


def _nmnist_rows(data: bytes, most: int | None = None) -> Events:
    count = min(len(data) // 5, len(data) if most is None else most)
    rows = np.frombuffer(data, np.uint8, 5 * count).reshape(-1, 5)
    found = np.empty(count, EVENT)
    found["x"], found["y"], found["p"] = rows[:, 0], rows[:, 1], rows[:, 2] >> 7
    wide = rows.astype(np.int32)
    found["t"] = (wide[:, 2] & 127) << 16 | wide[:, 3] << 8 | wide[:, 4]
    return found


def _decode_nmnist(data: bytes, state: State, end: bool) -> Decoded:
    found = _nmnist_rows(data)
    found["t"], state = unwrapped(found["t"].copy(), _NMNIST_BITS, state)
    rest = len(data) % 5
    return Decoded(found, state, len(data) if end else len(data) - rest, int(end and rest > 0))

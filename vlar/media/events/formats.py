"""Files of event cameras: each format by its first bytes, and its records as events.

A decoder is given the bytes of some records and what the records before left behind. So any piece
of a file can be read without those before it.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from vlar.files.arrays import is_plain, names_in, read_npz
from vlar.files.reading import opened
from vlar.media.events.representations import EVENT, Events, Size
from vlar.media.signals import FileHead

_NAMES = {"x": ("x",), "y": ("y",), "t": ("t", "ts", "timestamp"), "p": ("p", "on", "polarity")}
_LARGEST_US = 1 << 60
MOST_BYTES = 1 << 40
LARGEST_PIECE = 1 << 26
_LONGEST_HEADER = 1 << 22
_STREAMED = 1 << 18  # events of a piece of a file that is read in one pass
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
    stream: Callable[[Path], Iterator[Decoded]] | None = None
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
    for recognised in (_npy, _npz, _aedat, _prophesee, _csv, _nmnist):
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
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0
        read = read if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    except Exception:  # noqa: BLE001 - the header is a text in Python
        return None
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


def has_arrays(path: Path) -> bool:
    """Return whether an ``.npz`` file has the arrays of events; errors as in ``header_of``."""
    names = set(names_in(path))
    return "events" in names or {"x", "y", "t", "p"} <= names


def _npz(path: Path, head: bytes) -> Header | None:
    if not head.startswith(b"PK\x03\x04"):
        return None
    if not has_arrays(path):
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
    whole = Decoded(events, (), 0)
    assumed = ("unit of time",)
    return Header("npz", 0, None, lambda _: iter([whole]), size, assumed, True, meta)


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
    return Decoded(found, state, *_whole(data, 5, end))


# AEDAT 2, 3.1 and 4

_CHIPS = (
    ("davis640", (480, 640)), ("davis346", (260, 346)), ("davis240", (180, 240)),
    ("dvxplorer", (480, 640)), ("dvs128", (128, 128)),
)  # fmt: skip
_PACKET = struct.Struct("<HHIIIIII")
_MOST_STREAMS = 1000
_PANIC = "PanicException"
_POLARITY = 1  # kind of a packet of AEDAT 3.1


def _aedat(path: Path, head: bytes) -> Header | None:
    if not head.startswith(b"#!AER-DAT"):
        return None
    version = head[9:12].decode("ascii", "replace")
    if version == "4.0":
        return _aedat4(path)
    text, start = _text_header(path, head, b"#")
    chips = [line for line in text if re.search("aechip|hardwareinterface|^#source", line)]
    known = next((chip for chip in _CHIPS if any(chip[0] in line for line in chips)), None)
    if version == "3.1":
        return Header("aedat3.1", start, _decode_aedat3, size=known and known[1])
    if version != "2.0":
        raise ValueError(
            f"it is of version {version!r} of AEDAT; versions 2.0, 3.1 and 4.0 are read"
        )
    if chips and known is None:
        raise ValueError(f"its chip is not known ({chips[-1].strip()[:80]!r}); export it as a CSV")
    name, size = known or _CHIPS[-1]
    assumed = (*(() if known else ("chip",)), *(() if name == "dvs128" else ("orientation",)))
    return Header("aedat2", start, partial(_decode_aedat2, size), size=size, assumed=assumed)


def _decode_aedat2(size: Size, data: bytes, state: State, end: bool) -> Decoded:
    """Pairs of address and time, from the lower right corner; other samples than events go."""
    rows = np.frombuffer(data, ">u4", len(data) // 8 * 2).reshape(-1, 2).astype(np.int64)
    address = rows[:, 0]
    t, state = unwrapped(rows[:, 1], 32, state)
    if size == (128, 128):
        x, y, p, own = address >> 1 & 127, address >> 8 & 127, ~address & 1, address < 1 << 15
    else:
        x, y, p = address >> 12 & 1023, address >> 22 & 511, address >> 11 & 1
        own = (address < 1 << 31) & (address & 1 << 10 == 0)
    found = events_of((size[1] - 1 - x)[own], (size[0] - 1 - y)[own], t[own], p[own])
    return Decoded(found, state, *_whole(data, 8, end))


def _decode_aedat3(data: bytes, state: State, end: bool) -> Decoded:
    """Packets of events, each after a header of 28 bytes."""
    parts, at, missing = [np.empty(0, EVENT)], 0, 0
    while at + _PACKET.size <= len(data):
        kind, _, width, _, wraps, most, count, _ = _PACKET.unpack_from(data, at)
        if not 0 < width * count <= LARGEST_PIECE or count > most or wraps > 1 << 16:
            raise ValueError(f"the packet at byte {at} of a piece of it is damaged")
        body, stop = at + _PACKET.size, at + _PACKET.size + width * count
        if stop > len(data) and not end:
            break
        held = min(count, (len(data) - body) // width)
        if kind == _POLARITY and width == 8:
            word, t = np.frombuffer(data, "<u4", 2 * held, body).reshape(-1, 2).astype(np.int64).T
            own = word & 1 == 1
            found = events_of(word >> 17, word >> 2 & 0x7FFF, (wraps << 31) + t, word >> 1 & 1)
            parts.append(found[own])
            missing += count - held
        at = min(stop, len(data))
    missing += end and at < len(data)
    return Decoded(np.concatenate(parts), state, len(data) if end else at, missing)


def _aedat4(path: Path) -> Header:
    _check_aedat4(path)
    try:
        import aedat
    except ImportError:
        raise ValueError("AEDAT 4 needs the extra 'events': pip install 'vlar[events]'") from None

    try:
        streams: dict[int, Any] = aedat.Decoder(str(path)).id_to_stream()
    except BaseException as error:  # noqa: BLE001 - ``_damage`` raises all but damage
        raise ValueError(f"its header is damaged ({_damage(error)})") from None
    wanted = next((key for key, one in streams.items() if one.get("type") == "events"), None)
    if wanted is None:
        raise ValueError("it has no stream of events")
    size = int(streams[wanted]["height"]), int(streams[wanted]["width"])

    def stream(path: Path) -> Iterator[Decoded]:
        parts: list[Events] = []
        missing = 0
        try:
            for packet in aedat.Decoder(str(path)):
                if packet["stream_id"] == wanted and "events" in packet:
                    rows = packet["events"]
                    parts.append(events_of(rows["x"], rows["y"], rows["t"], rows["on"]))
                if sum(map(len, parts)) >= _STREAMED:
                    yield Decoded(np.concatenate(parts), (), 0)
                    parts = []
        except BaseException as error:  # noqa: BLE001 - as above
            _damage(error)  # cut off, or damaged from here on
            missing = 1
        yield Decoded(np.concatenate([np.empty(0, EVENT), *parts]), (), 0, missing)

    return Header("aedat4", stream=stream, size=size, sorts=True)


def _check_aedat4(path: Path) -> None:
    """Refuse sizes of its parts that the decoder would take memory for."""
    with opened(path, MOST_BYTES) as stream:
        end = stream.seek(0, io.SEEK_END)
        at, name = 14, 0
        stream.seek(at)
        size = int.from_bytes(stream.read(4), "little")
        facts = stream.read(min(size, LARGEST_PIECE))
        at += 4 + size
        while 0 <= name < _MOST_STREAMS and at < end and 0 <= size <= LARGEST_PIECE:
            stream.seek(at)
            part = stream.read(8)
            if len(part) == 8:
                name, size = struct.unpack("<ii", part)
            at += 8 + size
    try:  # the decoder ends the process where these are not what it expects
        ElementTree.fromstring(facts[facts.index(b"<") : facts.rindex(b">") + 1].decode())
    except (ValueError, ElementTree.ParseError):
        raise ValueError("its header is damaged: it holds no description in XML") from None
    if not 0 <= size <= LARGEST_PIECE and 0 <= name < _MOST_STREAMS:
        raise ValueError(f"its header is damaged, or a packet: one has {size:,} bytes")


def _damage(error: BaseException) -> str:
    """The words of an error about a damaged file; a panic of Rust is not an ``Exception``."""
    if not isinstance(error, (RuntimeError, ValueError)) and type(error).__name__ != _PANIC:
        raise error
    return str(error)[:80]


# Prophesee

_PLUGINS = (("gen4", (720, 1280)), ("gen3", (480, 640)))


def _prophesee(path: Path, head: bytes) -> Header | None:
    if not head.startswith(b"%"):
        return None
    lines, start = _text_header(path, head, b"%")
    text = "\n".join(lines)
    raw = re.search(r"^% *(?:evt +|format +evt)(\d+(?:\.\d+)?)", text, re.MULTILINE)
    stated = [re.search(rf"\b{name}[ =]+(\d+)", text) for name in ("height", "width")]
    size = (int(stated[0][1]), int(stated[1][1])) if stated[0] and stated[1] else None
    if raw is not None:
        decode = {"2": _decode_evt2, "3": _decode_evt3}.get(raw[1].removesuffix(".0"))
        if decode is None:
            raise ValueError(f"it is of version {raw[1]} of EVT; EVT 2 and EVT 3 are read")
        plugin = next((size for name, size in _PLUGINS if f"plugin_{name}" in text), None)
        assumed = () if size or not plugin else ("size",)
        return Header(f"evt{raw[1][0]}", start, decode, size=size or plugin, assumed=assumed)
    version = re.search(r"^% *version +(\S+)", text, re.MULTILINE)
    if version is None or "event" not in text:
        return None
    if version[1] != "2" or head[start + 1 : start + 2] != b"\x08":
        raise ValueError(
            f"it is of version {version[1][:20]} of .dat, or not of 8 bytes an event; version 2 is "
            "read"
        )
    return Header("dat", start + 2, _decode_dat, size=size)


def _decode_dat(data: bytes, state: State, end: bool) -> Decoded:
    rows = np.frombuffer(data, "<u4", len(data) // 8 * 2).reshape(-1, 2)
    t, state = unwrapped(rows[:, 0].astype(np.int64), 32, state)
    word = rows[:, 1]
    found = events_of(word & 0x3FFF, word >> 14 & 0x3FFF, t, word >> 28 & 1)
    return Decoded(found, state, *_whole(data, 8, end))


def _decode_evt2(data: bytes, state: State, end: bool) -> Decoded:
    """Words of 32 bits: events carry the lower 6 bits of the time, others the upper 28."""
    words = np.frombuffer(data, "<u4", len(data) // 4).astype(np.int64)
    kind = words >> 28
    before, *clock = state or (-1,)
    high, clock = unwrapped(words[kind == 8] & 0xFFFFFFF, 28, tuple(clock))
    high = _filled(high, kind == 8, before)
    own = (kind <= 1) & (high >= 0)
    word = words[own]
    found = events_of(word >> 11 & 2047, word & 2047, high[own] << 6 | word >> 22 & 63, kind[own])
    return Decoded(found, (_last(high, before), *clock), *_whole(data, 4, end))


def _decode_evt3(data: bytes, state: State, end: bool) -> Decoded:
    """Words of 16 bits, each of which changes one part of what the next events have in common."""
    words = np.frombuffer(data, "<u2", len(data) // 2).astype(np.int64)
    kind, value = words >> 12, words & 2047
    row, before, low, base, sign, *clock = state or (-1, -1, 0, 0, 0)
    is_high = kind == 8
    high, clock = unwrapped(words[is_high] & 4095, 12, tuple(clock))
    # A new upper part comes before its lower part, which until then is 0.
    renewed = is_high.copy()
    renewed[is_high] = np.diff(high, prepend=before) != 0
    lows = np.where(kind == 6, words & 4095, 0)[renewed | (kind == 6)]
    low = _filled(lows, renewed | (kind == 6), low)
    high = _filled(high, is_high, before)
    row_of = _filled(value[kind == 0], kind == 0, row)
    # Each vector of 12 or 8 pixels moves the place of the next one.
    steps = 12 * (kind == 4) + 8 * (kind == 5)
    moved = np.cumsum(steps) - steps
    place = _filled((value - moved)[kind == 3], kind == 3, base) + moved
    signs = _filled(words[kind == 3] >> 11 & 1, kind == 3, sign)
    own = np.isin(kind, (2, 4, 5)) & (high >= 0) & (row_of >= 0)
    single = kind[own] == 2
    bits = np.where(single, 1, words[own] & np.where(kind[own] == 4, 4095, 255)).astype(np.uint16)
    which, bit = np.nonzero(bits[:, None] >> np.arange(12, dtype=np.uint16) & 1)
    x = np.where(single, value[own], place[own])[which] + bit
    p = np.where(single, words[own] >> 11 & 1, signs[own])[which]
    t = (high << 12 | low)[own][which]
    found = events_of(x, row_of[own][which], t, p)
    after = int(place[-1] + steps[-1]) if len(words) else base
    ends = (_last(row_of, row), _last(high, before), _last(low, 0), after, _last(signs, sign))
    return Decoded(found, (*ends, *clock), *_whole(data, 2, end))


def _filled(values: Any, at: npt.NDArray[np.bool_], before: int) -> npt.NDArray[np.int64]:
    """Values that stand at some places, each repeated up to the next."""
    return np.concatenate([[before], values]).astype(np.int64)[np.cumsum(at)]


def _last(values: npt.NDArray[np.int64], before: int) -> int:
    return int(values[-1]) if len(values) else before


# CSV

_UNITS_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "µs": 1.0, "ns": 1e-3}
_TIME = re.compile(r"^(?:t|ts|time|timestamp)(?:[ _]*[\[(]?(s|ms|us|µs|ns)[\])]?)?$")


def _csv(path: Path, head: bytes) -> Header | None:
    text = FileHead(path, head).lines
    at = next((at for at, line in enumerate(text) if line and not line.startswith("#")), None)
    names = [] if at is None else [name.strip().strip('"').lower() for name in text[at].split(",")]
    times = [(place, found) for place, name in enumerate(names) if (found := _TIME.match(name))]
    others = [next((names.index(n) for n in _NAMES[c] if n in names), None) for c in "xyp"]
    if at is None or not times or None in others:
        return None
    unit = times[0][1][1]
    if unit is None:
        raise ValueError(
            f"its header {text[at][:60]!r} states no unit of time; name the column t_us, t_ms, t_s"
        )
    columns = (times[0][0], *others)
    start = sum(len(line) for line in head.splitlines(keepends=True)[: at + 1])
    stated = [re.search(rf"{n}=(\d+)", "\n".join(text[:at])) for n in ("height", "width")]
    size = (int(stated[0][1]), int(stated[1][1])) if stated[0] and stated[1] else None
    decode = partial(_decode_csv, columns, len(names), _UNITS_US[unit])
    return Header("csv", start, decode, size=size, sorts=True)


def _decode_csv(
    columns: Any, width: int, unit_us: float, data: bytes, state: State, end: bool
) -> Decoded:
    used, missing = data.rfind(b"\n") + 1, 0
    if end:
        rest = data[used:]
        missing = int(bool(rest.strip()) and rest.count(b",") + 1 < width)
        used = used if missing else len(data)
    text = data[:used]
    rows = np.empty((0, 4))
    if text.strip():
        rows = np.loadtxt(io.BytesIO(text), delimiter=",", usecols=columns, ndmin=2)
    found = events_of(rows[:, 1], rows[:, 2], rows[:, 0], rows[:, 3], unit_us)
    return Decoded(found, state, len(data) if end else used, missing)


# Parts that several formats share


def _text_header(path: Path, head: bytes, mark: bytes) -> tuple[list[str], int]:
    """Lines in lower case that begin with a mark, and the byte after them."""
    if len(head.translate(None, _TEXT)) == 0:  # longer than what was read of it
        with opened(path, MOST_BYTES) as stream:
            head = stream.read(_LONGEST_HEADER)
    lines: list[str] = []
    start = 0
    while head.startswith(mark, start):
        stop = head.find(b"\n", start) + 1
        line = head[start:stop]
        if not stop or line.translate(None, _TEXT):
            break
        lines.append(line.decode("ascii").lower())
        start = stop
        if lines[-1].rstrip() in ("% end", "#end of ascii header"):
            break
    return lines, start


def _whole(data: bytes, width: int, end: bool) -> tuple[int, int]:
    """Bytes that are used of records of a width, and how many records the end of a file lacks."""
    rest = len(data) % width
    return (len(data), int(rest > 0)) if end else (len(data) - rest, 0)

"""Files of event cameras: each format by its first bytes, and its records as events.

A decoder is given the bytes of some records and what the records before left behind, so any piece
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

from vlar.files.arrays import NUMPY_HEADERS, is_plain, names_in, read_npz, shapes_of
from vlar.files.opening import open_input
from vlar.files.reading import require_memory
from vlar.media.signals import FileHead
from vlar.methods.events.representations import EVENT, Events, Size
from vlar.version import pip_install

MOST_BYTES, LARGEST_PIECE = 1 << 40, 1 << 26
_LONGEST_HEADER = 1 << 22
_LARGEST_US = 1 << 60
_BYTES_HELD = 64  # of an event of an archive while its columns are joined
_TEXT = bytes([*range(32, 127), 9, 10, 13])
_NAMES = {"x": ("x",), "y": ("y",), "t": ("t", "ts", "timestamp"), "p": ("p", "on", "polarity")}
State = tuple[int, ...]
Ints = npt.NDArray[np.int64]


class DecodedEvents(NamedTuple):
    """Events (L,) of ``EVENT`` of a piece of a file, on the file's own clock.

    Attributes:
        events: In the order of the file.
        state: What the next piece needs to know.
        used: Bytes that were decoded.
        missing: Events that the piece states and does not hold.
    """

    events: Events
    state: State = ()
    used: int = 0
    missing: int = 0


Decode = Callable[[bytes, State, bool], DecodedEvents]


@dataclass(frozen=True)
class EventHeader:
    """Facts that the beginning of a file states.

    Attributes:
        format: Name of the format.
        start: Byte of the first record.
        decode: Takes bytes, the state before them, and whether they are the end of the file.
        stream: Instead of ``decode``: the pieces of a file that is read in one pass.
        size: (H, W) of the sensor; None where it is not stated.
        assumed: Facts that the file does not state.
        sorts: Whether the clock does not wrap, so that times that fall can be sorted.
        meta: More facts of the recording.
    """

    format: str
    start: int = 0
    decode: Decode | None = None
    stream: Callable[[Path], Iterator[DecodedEvents]] | None = None
    size: Size | None = None
    assumed: tuple[str, ...] = ()
    sorts: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])


def header_of(path: Path, head: bytes) -> EventHeader | None:
    """The header of a file by its first 64 KB; None where it holds no events.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is of a version that is not read, or damaged; the message is one sentence.
    """
    headers = (form(path, head) for form in (_npy, _npz, _aedat, _prophesee, _csv, _nmnist))
    return next((header for header in headers if header is not None), None)


def events_of(x: Any, y: Any, t: Any, p: Any, unit_us: float = 1.0) -> Events:
    """Columns of numbers as events.

    Raises:
        ValueError: a coordinate or a time is none that an event can have.
    """
    events = np.empty(len(t), EVENT)
    for name, values in (("x", x), ("y", y)):
        if len(values) and not (values.min() >= 0 and values.max() < 1 << 16):
            raise ValueError(f"its coordinates {name} are not all from 0 to 65535")
        events[name] = values
        if values.dtype.kind == "f" and (events[name] != values).any():
            raise ValueError(f"its coordinates {name} are not all whole numbers")
    largest = max(abs(float(t.min())), abs(float(t.max()))) * unit_us if len(t) else 0.0
    if not largest < _LARGEST_US:
        raise ValueError("its times are not all numbers of microseconds")
    events["t"] = t if unit_us == 1 and t.dtype.kind in "iu" else np.rint(t * unit_us)
    events["p"] = p > 0
    return events


def unwrapped(raw: Ints, bits: int, state: State) -> tuple[Ints, State]:
    """Times (L,) of a counter of some bits as times that rise: a fall by over half of it wraps.

    Args:
        raw: As the file has them.
        bits: Bits of the counter.
        state: The last of them before, and the wraps so far; empty at the start.
    """
    if not len(raw):
        return raw, state
    last, wraps = state or (int(raw[0]), 0)
    falls = np.diff(raw, prepend=last) < -(1 << (bits - 1))
    if not wraps and not falls.any():
        return raw, (int(raw[-1]), 0)
    turns = wraps + np.cumsum(falls)
    return raw + (turns << bits), (int(raw[-1]), int(turns[-1]))


def _whole(data: bytes, width: int, end: bool) -> tuple[int, int]:
    """Bytes that are used of records of a width, and how many records the end of a file lacks."""
    remainder = len(data) % width
    return (len(data), int(remainder > 0)) if end else (len(data) - remainder, 0)


def _text_header(path: Path, head: bytes, mark: bytes) -> tuple[list[str], int]:
    """Lines in lower case that begin with a mark, and the byte after them."""
    if not head.translate(None, _TEXT):  # longer than what was read of it
        with open_input(path, MOST_BYTES) as stream:
            head = stream.read(_LONGEST_HEADER)
    lines: list[str] = []
    start = 0
    while head.startswith(mark, start):
        stop = head.find(b"\n", start) + 1
        line = head[start:stop]
        if not stop or line.translate(None, _TEXT):
            break
        lines.append(line.decode("ascii").strip().lower())
        start = stop
        if lines[-1] in ("% end", "#end of ascii header"):
            break
    return lines, start


def _size_in(text: str) -> Size | None:
    """The size that a text states by the words height and width."""
    matches = [re.search(rf"\b{name}[ =:]+(\d+)", text) for name in ("height", "width")]
    return (int(matches[0][1]), int(matches[1][1])) if matches[0] and matches[1] else None


# NumPy


def _npy(path: Path, head: bytes) -> EventHeader | None:
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0
        read = read if version == (1, 0) else np.lib.format.read_array_header_2_0
        with NUMPY_HEADERS:
            shape, _, dtype = read(stream)
    except Exception:  # noqa: BLE001 - the header is a text in Python
        return None
    columns = _columns(dtype)
    if columns is None:
        return None
    if min(shape, default=0) < 0:
        raise ValueError(f"its header states the shape {shape}")
    if len(shape) != 1 or not is_plain(dtype, fields=True):
        raise ValueError(f"it is an array {shape} of {dtype}; one-dimensional events are read")

    def decode(data: bytes, state: State, end: bool) -> DecodedEvents:
        before = state[0] if state else 0
        count = min(len(data) // dtype.itemsize, int(shape[0]) - before)
        events = _structured(np.frombuffer(data, dtype, count), columns)
        missing = int(shape[0]) - before - count if end else 0
        used = len(data) if end else count * dtype.itemsize
        return DecodedEvents(events, (before + count,), used, missing)

    return EventHeader("npy", stream.tell(), decode, assumed=("unit of time",), sorts=True)


def has_arrays(path: Path) -> bool:
    """Return whether an ``.npz`` file has the arrays of events; errors as in ``header_of``."""
    names = set(names_in(path))
    return "events" in names or set(_NAMES) <= names


def _npz(path: Path, head: bytes) -> EventHeader | None:
    if not head.startswith(b"PK\x03\x04") or not has_arrays(path):
        return None
    names_read = ("events", "size", "synthetic", *_NAMES)
    shapes = shapes_of(path, names_read)
    count = max((shape[0] for shape in shapes.values() if len(shape) == 1), default=0)
    require_memory(_BYTES_HELD * float(count))
    arrays = read_npz(path, fields=True, names=names_read)
    rows: Any = arrays.get("events", arrays)
    columns = {name: name for name in _NAMES} if rows is arrays else _columns(rows.dtype)
    if columns is None:
        return None
    if len({rows[name].shape for name in columns.values()}) > 1:
        raise ValueError("its arrays x, y, t and p are not equally long")
    whole = DecodedEvents(_structured(rows, columns))
    size = arrays.get("size", np.zeros(0, np.int64))
    stated = (
        (int(size[0]), int(size[1])) if size.shape == (2,) and size.dtype.kind in "iu" else None
    )
    meta = {"synthetic": True} if bool(np.any(arrays.get("synthetic", False))) else {}
    return EventHeader(
        "npz", 0, None, lambda _: iter([whole]), stated, ("unit of time",), True, meta
    )


def _columns(dtype: np.dtype[Any]) -> dict[str, str] | None:
    """The field of a structured array for each column; None where one is missing."""
    names = {name.lower(): name for name in dtype.names or ()}
    columns = {c: names[word] for c, words in _NAMES.items() for word in words if word in names}
    plain = all(dtype[name].kind in "biuf" and not dtype[name].shape for name in columns.values())
    return columns if len(columns) == len(_NAMES) and plain else None


def _structured(rows: Any, columns: Mapping[str, str]) -> Events:
    x, y, t, p = (rows[columns[name]] for name in "xytp")
    if t.ndim != 1 or any(one.dtype.kind not in "biuf" for one in (x, y, t, p)):
        raise ValueError("its events are not columns of numbers")
    return events_of(x, y, t, p, 1e6 if t.dtype.kind == "f" else 1.0)


# N-MNIST, N-Caltech

_LEAST_BYTES = 40  # of a file without a header: fewer could be anything
_SAMPLED = 10_000  # bytes of records whose times must rise


def _nmnist(path: Path, head: bytes) -> EventHeader | None:
    """Files of 5 bytes an event; they have no header, and are known by times that rise."""
    if len(head) < _LEAST_BYTES or not head.translate(None, _TEXT):
        return None
    times = _decode_nmnist(head[:_SAMPLED], (), True).events["t"]
    return None if (np.diff(times) < 0).any() else EventHeader("nmnist", decode=_decode_nmnist)


def _decode_nmnist(data: bytes, state: State, end: bool) -> DecodedEvents:
    rows = np.frombuffer(data, np.uint8, len(data) // 5 * 5).reshape(-1, 5)
    wide = rows[:, 2:].astype(np.int64)
    raw = (wide[:, 0] & 127) << 16 | wide[:, 1] << 8 | wide[:, 2]
    t, state = unwrapped(raw, 23, state)
    events = events_of(rows[:, 0], rows[:, 1], t, rows[:, 2] >> 7)
    return DecodedEvents(events, state, *_whole(data, 5, end))


# AEDAT 2, 3.1 and 4

_CHIPS = {
    "davis640": (480, 640),
    "davis346": (260, 346),
    "davis240": (180, 240),
    "dvxplorer": (480, 640),
    "dvs128": (128, 128),
}
_PACKET = struct.Struct("<HHIIIIII")
_POLARITY = 1  # kind of a packet of AEDAT 3.1
_MOST_STREAMS = 1000  # of AEDAT 4
_LONGEST_DESCRIPTION, _DEEPEST_DESCRIPTION = 1 << 20, 64
_TAG = re.compile(rb"<(/)?[^<>?!/][^<>]*?(/)?>")
_ZSTD, _LZ4, _FRAME_HEAD = b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", 18


def _aedat(path: Path, head: bytes) -> EventHeader | None:
    if not head.startswith(b"#!AER-DAT"):
        return None
    version = head[9:12].decode("ascii", "replace")
    if version == "4.0":
        return _aedat4(path)
    if version not in ("2.0", "3.1"):
        raise ValueError(f"it is of version {version!r} of AEDAT; 2.0, 3.1 and 4.0 are read")
    text, start = _text_header(path, head, b"#")
    chips = [line for line in text if re.search("aechip|hardwareinterface|^#source", line)]
    name = next((name for name in _CHIPS if any(name in line for line in chips)), None)
    if version == "3.1":
        return EventHeader("aedat3.1", start, _decode_aedat3, size=_CHIPS.get(name or ""))
    if chips and name is None:
        raise ValueError(f"its chip is not known ({chips[-1][:80]!r}); export it as a CSV")
    size = _CHIPS[name or "dvs128"]
    assumed = () if name == "dvs128" else ("orientation",) if name else ("chip",)
    return EventHeader("aedat2", start, partial(_decode_aedat2, size), size=size, assumed=assumed)


def _decode_aedat2(size: Size, data: bytes, state: State, end: bool) -> DecodedEvents:
    """Pairs of address and time, from the lower right corner; other samples than events go."""
    rows = np.frombuffer(data, ">u4", len(data) // 8 * 2).reshape(-1, 2).astype(np.int64)
    address = rows[:, 0]
    t, state = unwrapped(rows[:, 1], 32, state)
    if size == (128, 128):
        x = address >> 1 & 127
        y = address >> 8 & 127
        p = ~address & 1
        is_polarity = address < 1 << 15
    else:
        x, y, p = address >> 12 & 1023, address >> 22 & 511, address >> 11 & 1
        is_polarity = (address < 1 << 31) & (address & 1 << 10 == 0)
    events = events_of(
        (size[1] - 1 - x)[is_polarity],
        (size[0] - 1 - y)[is_polarity],
        t[is_polarity],
        p[is_polarity],
    )
    return DecodedEvents(events, state, *_whole(data, 8, end))


def _decode_aedat3(data: bytes, state: State, end: bool) -> DecodedEvents:
    """Packets of events, each after a header of 28 bytes."""
    bodies: list[bytes] = []
    turns: list[int] = []
    offset = missing = 0
    while offset + _PACKET.size <= len(data):
        kind, _, width, _, wraps, most, count, _ = _PACKET.unpack_from(data, offset)
        if not 0 < width * count <= LARGEST_PIECE or count > most or wraps > 1 << 16:
            raise ValueError(f"the packet at byte {offset} of a piece of it is damaged")
        body, stop = offset + _PACKET.size, offset + _PACKET.size + width * count
        if stop > len(data) and not end:
            break
        held = min(count, (len(data) - body) // width)
        if kind == _POLARITY and width == 8:
            bodies.append(data[body : body + 8 * held])
            turns.append(wraps)
            missing += count - held
        offset = min(stop, len(data))
    missing += end and offset < len(data)
    # All packets at once: a file may hold one event in each.
    word, t = np.frombuffer(b"".join(bodies), "<u4").reshape(-1, 2).astype(np.int64).T
    wrapped = np.repeat(np.array(turns, np.int64), [len(body) // 8 for body in bodies]) << 31
    valid = word & 1 == 1
    word, t = word[valid], (t + wrapped)[valid]
    events = events_of(word >> 17, word >> 2 & 0x7FFF, t, word >> 1 & 1)
    return DecodedEvents(events, state, len(data) if end else offset, missing)


def _aedat4(path: Path) -> EventHeader:
    _check_aedat4(path)
    try:
        import aedat
    except ImportError:
        raise ValueError(f"AEDAT 4 needs the extra 'events': {pip_install('events')}") from None

    try:
        streams: dict[int, Any] = aedat.Decoder(str(path)).id_to_stream()
    except BaseException as error:  # noqa: BLE001 - ``_damage`` raises all but damage
        raise ValueError(f"its header is damaged ({_damage(error)})") from None
    stream_id = next((key for key, one in streams.items() if one.get("type") == "events"), None)
    if stream_id is None:
        raise ValueError("it has no stream of events")

    def stream(path: Path) -> Iterator[DecodedEvents]:
        try:
            for packet in aedat.Decoder(str(path)):
                if packet["stream_id"] == stream_id and "events" in packet:
                    rows = packet["events"]
                    yield DecodedEvents(events_of(rows["x"], rows["y"], rows["t"], rows["on"]))
        except BaseException as error:  # noqa: BLE001 - as above
            _damage(error)  # cut off, or damaged from here on
            yield DecodedEvents(np.empty(0, EVENT), missing=1)

    size = int(streams[stream_id]["height"]), int(streams[stream_id]["width"])
    return EventHeader("aedat4", stream=stream, size=size, sorts=True)


def _check_aedat4(path: Path) -> None:
    """Refuse sizes that the decoder would take memory for, and a text that ends its process."""
    with open_input(path, MOST_BYTES) as stream:
        end = stream.seek(0, io.SEEK_END)
        stream.seek(14)
        name, size = 0, int.from_bytes(stream.read(4), "little")
        facts = stream.read(min(size, LARGEST_PIECE))
        offset = 18 + size
        while 0 <= name < _MOST_STREAMS and offset + 8 <= end and 0 <= size <= LARGEST_PIECE:
            stream.seek(offset)
            head = stream.read(8 + _FRAME_HEAD)
            name, size = struct.unpack_from("<ii", head)
            if (unpacked := _unpacked_bytes(head[8:])) > LARGEST_PIECE:
                raise ValueError(f"a packet in it unpacks to {unpacked:,} bytes")
            offset += 8 + size
    _check_description(facts)
    if not 0 <= size <= LARGEST_PIECE and 0 <= name < _MOST_STREAMS:
        raise ValueError(f"its header is damaged, or a packet: one has {size:,} bytes")


def _check_description(facts: bytes) -> None:
    """Refuse a description that is not XML, too long or too deep for what recurses over it.

    Raises:
        ValueError: it is one.
    """
    begin, stop = facts.find(b"<"), facts.rfind(b">") + 1
    if len(facts) > _LONGEST_DESCRIPTION or b"<!" in facts:
        raise ValueError(f"its header is damaged: its description has {len(facts):,} bytes")
    depth = 0
    for tag in _TAG.finditer(facts, max(begin, 0), stop):
        depth += -1 if tag[1] else 0 if tag[2] else 1
        if depth > _DEEPEST_DESCRIPTION:
            raise ValueError(f"its description is nested over {_DEEPEST_DESCRIPTION} levels deep")
    try:
        ElementTree.fromstring(facts[begin:stop].decode())
    except (ValueError, ElementTree.ParseError):
        raise ValueError("its header is damaged: it holds no description in XML") from None


def _unpacked_bytes(data: bytes) -> int:
    """Bytes that a compressed packet states of what it unpacks to; 0 where it states none."""
    if data.startswith(_ZSTD) and len(data) > 5:
        kind = data[4]
        width = (1 if kind & 32 else 0, 2, 4, 8)[kind >> 6]
        start = 5 + (0 if kind & 32 else 1) + (0, 1, 2, 4)[kind & 3]
        size = int.from_bytes(data[start : start + width], "little")
        return size + 256 if width == 2 else size
    if data.startswith(_LZ4) and len(data) > 14 and data[4] & 8:
        return int.from_bytes(data[6:14], "little")
    return 0


def _damage(error: BaseException) -> str:
    """The words of an error about a damaged file; a panic of Rust is not an ``Exception``."""
    is_fault = isinstance(error, (RuntimeError, ValueError)) or type(error).__name__.startswith(
        "Panic"
    )
    if not is_fault or isinstance(error, GeneratorExit):
        raise error
    return str(error)[:80]


# Prophesee

_PLUGINS = {"gen4": (720, 1280), "gen3": (480, 640)}


def _prophesee(path: Path, head: bytes) -> EventHeader | None:
    if not head.startswith(b"%"):
        return None
    lines, start = _text_header(path, head, b"%")
    text = "\n".join(lines)
    size = _size_in(text)
    raw = re.search(r"^% *(?:evt +|format +evt)(\d+(?:\.\d+)?)", text, re.MULTILINE)
    if raw is not None:
        decode = {"2": _decode_evt2, "3": _decode_evt3}.get(raw[1].removesuffix(".0"))
        if decode is None:
            raise ValueError(f"it is of version {raw[1]} of EVT; EVT 2 and EVT 3 are read")
        plugin = next((size for name, size in _PLUGINS.items() if f"plugin_{name}" in text), None)
        assumed = () if size or not plugin else ("size",)
        return EventHeader(f"evt{raw[1][0]}", start, decode, size=size or plugin, assumed=assumed)
    version = re.search(r"^% *version +(\S+)", text, re.MULTILINE)
    if version is None or "event" not in text:
        return None
    if version[1] != "2" or head[start + 1 : start + 2] != b"\x08":
        raise ValueError(
            f"it is .dat of version {version[1][:20]}, or not of 8 bytes an event; 2 is read"
        )
    return EventHeader("dat", start + 2, _decode_dat, size=size)


def _decode_dat(data: bytes, state: State, end: bool) -> DecodedEvents:
    rows = np.frombuffer(data, "<u4", len(data) // 8 * 2).reshape(-1, 2)
    t, state = unwrapped(rows[:, 0].astype(np.int64), 32, state)
    word = rows[:, 1]
    events = events_of(word & 0x3FFF, word >> 14 & 0x3FFF, t, word >> 28 & 1)
    return DecodedEvents(events, state, *_whole(data, 8, end))


def _decode_evt2(data: bytes, state: State, end: bool) -> DecodedEvents:
    """Words of 32 bits: events carry the lower 6 bits of the time, others the upper 28."""
    words = np.frombuffer(data, "<u4", len(data) // 4).astype(np.int64)
    kind = words >> 28
    before, *clock = state or (-1,)
    high, clock = unwrapped(words[kind == 8] & 0xFFFFFFF, 28, tuple(clock))
    high = _filled(high, kind == 8, before)
    is_event = (kind <= 1) & (high >= 0)
    word = words[is_event]
    events = events_of(
        word >> 11 & 2047, word & 2047, high[is_event] << 6 | word >> 22 & 63, kind[is_event]
    )
    return DecodedEvents(events, (_last(high, before), *clock), *_whole(data, 4, end))


def _decode_evt3(data: bytes, state: State, end: bool) -> DecodedEvents:
    """Words of 16 bits, each of which changes one part of what the next events have in common."""
    words = np.frombuffer(data, "<u2", len(data) // 2).astype(np.int64)
    kind, value = words >> 12, words & 2047
    row, before, low, base, sign, *clock = state or (-1, -1, 0, 0, 0)
    is_high = kind == 8
    high, clock = unwrapped(words[is_high] & 4095, 12, tuple(clock))
    # A new upper part comes before its lower part, which until then is 0.
    renewed = is_high.copy()
    renewed[is_high] = np.diff(high, prepend=before) != 0
    low = _filled(np.where(kind == 6, words & 4095, 0), renewed | (kind == 6), low)
    high, rows = _filled(high, is_high, before), _filled(value, kind == 0, row)
    # Each vector of 12 or 8 pixels moves the place of the next one.
    steps = 12 * (kind == 4) + 8 * (kind == 5)
    moved = np.cumsum(steps) - steps
    columns = _filled(value - moved, kind == 3, base) + moved
    signs = _filled(words >> 11 & 1, kind == 3, sign)
    is_event = np.isin(kind, (2, 4, 5)) & (high >= 0) & (rows >= 0)
    single = kind[is_event] == 2
    bits = np.where(single, 1, words[is_event] & np.where(kind[is_event] == 4, 4095, 255)).astype(
        np.uint16
    )
    which, bit = np.nonzero(bits[:, None] >> np.arange(12, dtype=np.uint16) & 1)
    x = np.where(single, value[is_event], columns[is_event])[which] + bit
    p = np.where(single, words[is_event] >> 11 & 1, signs[is_event])[which]
    events = events_of(x, rows[is_event][which], (high << 12 | low)[is_event][which], p)
    after = int(columns[-1] + steps[-1]) if len(words) else base
    ends = (_last(rows, row), _last(high, before), _last(low, 0), after, _last(signs, sign))
    return DecodedEvents(events, (*ends, *clock), *_whole(data, 2, end))


def _filled(values: Ints, at: npt.NDArray[np.bool_], before: int) -> Ints:
    """Values at some places (or of all, of which those count), each repeated up to the next."""
    chosen = values[at] if len(values) == len(at) else values
    return np.concatenate([[before], chosen]).astype(np.int64)[np.cumsum(at)]


def _last(values: Ints, before: int) -> int:
    return int(values[-1]) if len(values) else before


# CSV

_UNITS_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "µs": 1.0, "ns": 1e-3}
_TIME = re.compile(r"^(?:t|ts|time|timestamp)(?:[ _]*[\[(]?(s|ms|us|µs|ns)[\])]?)?$")


def _csv(path: Path, head: bytes) -> EventHeader | None:
    text = FileHead(path, head).lines
    first = next(
        (index for index, line in enumerate(text) if line and not line.startswith("#")), None
    )
    names = (
        []
        if first is None
        else [name.strip().strip('"').lower() for name in text[first].split(",")]
    )
    time = next((index for index, name in enumerate(names) if _TIME.match(name)), None)
    others = [next((names.index(n) for n in _NAMES[c] if n in names), None) for c in "xyp"]
    if first is None or time is None or None in others:
        return None
    match = _TIME.match(names[time])
    if match is None or match[1] is None:
        raise ValueError(
            f"its header {text[first][:60]!r} states no unit of time; name the column t_us, "
            "t_ms, t_s"
        )
    start = sum(len(line) for line in head.splitlines(keepends=True)[: first + 1])
    decode = partial(_decode_csv, (time, *others), len(names), _UNITS_US[match[1]])
    return EventHeader("csv", start, decode, size=_size_in("\n".join(text[:first])), sorts=True)


def _decode_csv(
    columns: Any, width: int, unit_us: float, data: bytes, state: State, end: bool
) -> DecodedEvents:
    used, missing = data.rfind(b"\n") + 1, 0
    if end:
        missing = int(bool(data[used:].strip()) and data.count(b",", used) + 1 < width)
        used = used if missing else len(data)
    rows = np.empty((0, 4))
    if data[:used].strip():
        rows = np.loadtxt(io.BytesIO(data[:used]), delimiter=",", usecols=columns, ndmin=2)
    events = events_of(rows[:, 1], rows[:, 2], rows[:, 0], rows[:, 3], unit_us)
    return DecodedEvents(events, state, len(data) if end else used, missing)

"""Small event files, made here: no bytes of a camera and of no other project."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from vlar.methods.events.representations import EVENT


def made(
    count: int = 500, *, seed: int = 0, size: tuple[int, int] = (34, 34), length_us: int = 300_000
) -> np.ndarray:
    """Random events in the order of time; the first at 0 and the last at ``length_us``."""
    random = np.random.default_rng(seed)
    events = np.zeros(count, EVENT)
    events["y"] = random.integers(0, size[0], count)
    events["x"] = random.integers(0, size[1], count)
    events["t"] = np.sort(random.integers(0, length_us, count))
    events["t"][[0, -1]] = 0, length_us
    events["p"] = random.integers(0, 2, count)
    return events


def nmnist(events: np.ndarray) -> bytes:
    t = events["t"] & 0x7FFFFF
    columns = [events["x"], events["y"], events["p"] << 7 | t >> 16, t >> 8 & 255, t & 255]
    return np.column_stack(columns).astype(np.uint8).tobytes()


def write(path: Path, content: bytes | np.ndarray | dict[str, Any]) -> Path:
    """A file of bytes, of an array or of named arrays."""
    if isinstance(content, bytes):
        path.write_bytes(content)
        return path
    with path.open("wb") as file:
        if isinstance(content, dict):
            np.savez(file, **content)
        else:
            np.save(file, content)
    return path


def aedat2(events: np.ndarray, *, chip: str = "AEChip: x.DVS128", start: int = 0) -> bytes:
    """With a text that begins as a header line does, and a special event among the others."""
    head = f"#!AER-DAT2.0\r\n# This is a raw AE data file\r\n# {chip}\r\n".encode()
    if "davis" in chip.lower():
        size = (260, 346)
        address = (size[0] - 1 - events["y"].astype("i8")) << 22 | events["p"].astype("i8") << 11
        address |= (size[1] - 1 - events["x"].astype("i8")) << 12
        special = 1 << 31
    else:
        address = (127 - events["y"].astype("i8")) << 8 | (127 - events["x"].astype("i8")) << 1
        address |= 1 - events["p"].astype("i8")
        special = 1 << 15
    rows = np.stack([address, (events["t"] + start) % (1 << 32)], axis=1)
    rows = np.insert(rows, len(rows) // 2, [special, rows[len(rows) // 2, 1]], axis=0)
    return head + rows.astype(">u4").tobytes()


def aedat3(events: np.ndarray, *, start: int = 0, packet: int = 100, version: str = "3.1") -> bytes:
    """Packets of polarity events, one invalid event in each, and one packet of another kind."""
    parts = [f"#!AER-DAT{version}\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n".encode()]
    t = events["t"] + start
    wraps = t >> 31
    packed = events["p"].astype("i8") << 1 | events["y"].astype("i8") << 2
    packed |= events["x"].astype("i8") << 17 | 1
    for at in range(0, len(events), packet):
        parts.append(struct.pack("<HHIIIIII", 3, 1, 36, 4, 0, 2, 1, 1) + bytes(36))
        for wrap in np.unique(wraps[at : at + packet]):
            own = np.flatnonzero(wraps[at : at + packet] == wrap) + at
            rows = np.stack([packed[own], t[own] & 0x7FFFFFFF], axis=1)
            rows = np.concatenate([rows, [[0, rows[-1, 1]]]]).astype("<u4")
            head = struct.pack("<HHIIIIII", 1, 1, 8, 4, wrap, len(rows), len(rows), len(own))
            parts += [head, rows.tobytes()]
    return b"".join(parts)


def dat(events: np.ndarray, *, start: int = 0, version: int = 2, size: str = "") -> bytes:
    head = f"% Data file containing CD events.\n% Version {version}\n{size}".encode() + b"\x0c\x08"
    word = (
        events["x"].astype("i8") | events["y"].astype("i8") << 14 | events["p"].astype("i8") << 28
    )
    return (
        head + np.stack([(events["t"] + start) % (1 << 32), word], axis=1).astype("<u4").tobytes()
    )


def evt2(events: np.ndarray, *, start: int = 0, head: str = "% evt 2.0\n") -> bytes:
    """An event before the first upper part of the time, which nobody can date, is left out."""
    words = [1 << 28 | 5 << 11 | 5]
    high = None
    for x, y, from_start, p in events.tolist():
        t = from_start + start
        if t >> 6 != high:
            high = t >> 6
            words += [8 << 28 | high & 0xFFFFFFF, 10 << 28 | 1]
        words.append(int(p) << 28 | (t & 63) << 22 | x << 11 | y)
    return head.encode() + np.array(words, "<u4").tobytes()


def evt3(events: np.ndarray, *, start: int = 0, head: str = "% evt 3.0\n") -> bytes:
    """Events of a row and a moment that lie within 12 pixels are a vector."""
    words = [2 << 12 | 7, 14 << 12]
    high = low = row = None
    rows = events.tolist()
    at = 0
    while at < len(rows):
        x, y, t, p = rows[at]
        t += start
        if t >> 12 != high:
            high, low = t >> 12, None
            words += [8 << 12 | high & 4095] * 2
        if t & 4095 != low:
            low = t & 4095
            words.append(6 << 12 | low)
        if y != row:
            row = y
            words.append(y)
        near = [rows[at]]
        while at + len(near) < len(rows):
            one = rows[at + len(near)]
            if (one[1], one[2] + start, one[3]) != (y, t, p) or not near[-1][0] < one[0] < x + 20:
                break
            near.append(one)
        if len(near) > 1:
            bits = sum(1 << (one[0] - x) for one in near)
            words += [3 << 12 | int(p) << 11 | x, 4 << 12 | bits & 4095, 5 << 12 | bits >> 12]
        else:
            words.append(2 << 12 | int(p) << 11 | x)
        at += len(near)
    return head.encode() + np.array(words, "<u2").tobytes()


def table(events: np.ndarray, head: str = "t_us,x,y,p") -> bytes:
    lines = [f"{t},{x},{y},{int(p)}" for x, y, t, p in events.tolist()]
    return "\n".join([head, *lines, ""]).encode()


def lines(count: int = 400, *, length_us: int = 300_000) -> np.ndarray:
    """Events of which many share a row and a moment, as edges make them."""
    random = np.random.default_rng(4)
    events = made(count, seed=4, size=(100, 120), length_us=length_us)
    for start in range(10, count - 10, 10):
        part = events[start : start + 6]
        part["t"], part["y"], part["p"] = part["t"][0], part["y"][0], part["p"][0]
        part["x"] = part["x"][0] // 2 + np.sort(random.choice(20, 6, replace=False))
    return events


def _flat(name: bytes, fields: list[bytes], tail: bytes = b"") -> bytes:
    """A flatbuffer of one table, with its size before it; its last field may point to ``tail``."""
    sizes = [len(field) for field in fields]
    places = [4 + sum(sizes[:n]) for n in range(len(sizes))]
    vtable = struct.pack(
        f"<{2 + len(fields)}H", 4 + 2 * len(fields), 4 + sum(sizes), *places
    )  # fmt: skip
    vtable += bytes(-len(vtable) % 4)
    start = 8 + len(vtable)
    table = struct.pack("<i", len(vtable)) + b"".join(fields)
    body = struct.pack("<I", start) + name + vtable + table
    return struct.pack("<I", len(body + tail)) + body + tail


def aedat4(events: np.ndarray, *, size: tuple[int, int] = (34, 34), packet: int = 100) -> bytes:
    """Uncompressed packets of one stream of events."""
    about = (
        '<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">'
        '<node name="0" path="/mainloop/Recorder/outInfo/0/">'
        '<attr key="compression" type="string">NONE</attr>'
        '<attr key="typeIdentifier" type="string">EVTS</attr>'
        '<node name="info" path="/mainloop/Recorder/outInfo/0/info/">'
        f'<attr key="sizeX" type="int">{size[1]}</attr>'
        f'<attr key="sizeY" type="int">{size[0]}</attr>'
        "</node></node></node></dv>"
    ).encode()
    text = struct.pack("<I", len(about)) + about + bytes(1 + -(len(about) + 1) % 4)
    # compression 0, position of the table of packets -1, then the offset of the text after it
    head = _flat(b"IOHE", [struct.pack("<i", 0), struct.pack("<q", -1), struct.pack("<I", 4)], text)
    parts = [b"#!AER-DAT4.0\r\n", head]
    rows = np.zeros(
        len(events), [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1"), ("_", "V3")]
    )
    for field in "txyp":
        rows[field] = events[field]
    for at in range(0, len(rows), packet):
        some = rows[at : at + packet]
        vector = struct.pack("<I", len(some)) + some.tobytes()
        data = _flat(b"EVTS", [struct.pack("<I", 4)], vector)
        parts.append(struct.pack("<ii", 0, len(data)) + data)
    return b"".join(parts)

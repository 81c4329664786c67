"""Formats of event files, recognised by their content; clocks that wrap; versions and damage."""

from __future__ import annotations

import csv
import re
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import event_files as files
from tests.refusals import refused
from vlar.errors import DecodeError
from vlar.methods.events import recording
from vlar.methods.events.reader import EventReader
from vlar.types import Sampling, Window
from vlar.version import pip_install

ALL = Sampling(4, all_samples=True)
READER = EventReader()


def read(path: Path, window: Window | None = None):
    return READER.read_clip(path, window, ALL)


Write = Callable[..., bytes]
FORMATS: dict[str, tuple[Write, tuple[int, int], tuple[str, ...]]] = {
    "nmnist": (lambda e: files.nmnist(e), (128, 128), ("size",)),
    "aedat2": (files.aedat2, (128, 128), ()),
    "aedat2 davis": (
        lambda e: files.aedat2(e, chip="AEChip: y.Davis346red"), (260, 346), ("orientation",),
    ),
    "aedat3.1": (files.aedat3, (128, 128), ()),
    "dat": (files.dat, (128, 128), ("size",)),
    "evt2": (lambda e: files.evt2(e, head="% evt 2.0\n% geometry 1x1\n"), (128, 128), ("size",)),
    "evt3": (
        lambda e: files.evt3(e, head="% format EVT3;height=720;width=1280\n% end\n"), (720, 1280),
        (),
    ),
    "aedat4": (lambda e: files.aedat4(e, size=(140, 150)), (140, 150), ()),
    "csv": (lambda e: files.table(e, "# width=150 height=140\n\"t [us]\",x,y,p"), (140, 150), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("ending", [".bin", ".raw", ".dat", ""])
def test_a_format_is_known_by_its_content(tmp_path: Path, name: str, ending: str):
    write, size, assumed = FORMATS[name]
    events = files.lines()
    path = files.write(tmp_path / f"a{ending}", write(events))
    assert READER.claims(path)
    clip = read(path)
    np.testing.assert_array_equal(clip.data, events)
    assert clip.meta["format"] == name.split()[0]
    assert clip.meta["size"] == size
    assert clip.meta["assumed"] == assumed
    assert clip.lost == 0


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("piece", [700, 5001])
def test_pieces_give_what_the_whole_gives(
    tmp_path: Path, name: str, piece: int, monkeypatch: pytest.MonkeyPatch
):
    events = files.lines(1500)
    path = files.write(tmp_path / "a", FORMATS[name][0](events))
    monkeypatch.setattr(recording, "PIECE_BYTES", piece)
    np.testing.assert_array_equal(read(path).data, events)
    part = read(path, Window(0.1, 0.2)).data
    inside = (events["t"] * 1e-6 >= 0.1) & (events["t"] * 1e-6 < 0.2)
    np.testing.assert_array_equal(part, events[inside])


@pytest.mark.parametrize(
    ("write", "bits"),
    [(files.aedat2, 32), (files.aedat3, 31), (files.dat, 32), (files.evt2, 34), (files.evt3, 24)],
)
def test_clocks_that_wrap_go_on(tmp_path: Path, write: Write, bits: int):
    events = files.lines()
    start = (1 << bits) - 150_000
    clip = read(files.write(tmp_path / "a", write(events, start=start)))
    np.testing.assert_array_equal(clip.data, events)
    assert clip.meta["start_us"] == start


@pytest.mark.parametrize("name", FORMATS)
def test_a_cut_file_is_read_as_far_as_it_goes(tmp_path: Path, name: str):
    events = files.lines()
    data = FORMATS[name][0](events)
    clip = read(files.write(tmp_path / "a", data[:-41]))
    assert 0 < len(clip.data) < len(events)
    np.testing.assert_array_equal(clip.data, events[: len(clip.data)])
    assert clip.lost > 0
    assert read(tmp_path / "a", Window(0, 0.01)).lost == 0


@pytest.mark.parametrize("head", ["t_s,x,y,p", "time_ms,x,y,polarity", "p,t_ns,extra,y,x"])
def test_units_of_time_of_a_table(tmp_path: Path, head: str):
    events = files.made()
    scale = {"t_s": 1e-6, "time_ms": 1e-3, "t_ns": 1e3}
    of = {"x": events["x"], "y": events["y"], "p": 2 * events["p"] - 1, "polarity": events["p"]}
    of |= {name: events["t"] * factor for name, factor in scale.items()}
    columns = [of.get(name, np.ones(len(events))) for name in head.split(",")]
    rows = [",".join(f"{value:.9g}" for value in row) for row in np.column_stack(columns)]
    path = files.write(tmp_path / "a.csv", "\r\n".join([head, *rows]).encode())
    np.testing.assert_array_equal(read(path).data, events)
    assert READER.claims(path)


def test_a_header_longer_than_what_is_read_first(tmp_path: Path):
    events = files.made()
    data = files.aedat2(events)
    at = data.index(b"# AEChip")
    long = data[:at] + b"# <entry key=value/>\r\n" * 8000 + data[at:]
    np.testing.assert_array_equal(read(files.write(tmp_path / "a.aedat", long)).data, events)


@pytest.fixture(autouse=True)
def _library(request: pytest.FixtureRequest):
    if "aedat4]" in request.node.name or "-aedat4" in request.node.name:
        pytest.importorskip("aedat")


EVENTS = files.made()
REFUSED = {
    "aedat of another version": (b"#!AER-DAT5.0\r\n" + bytes(80), "version '5.0' of AEDAT"),
    "aedat 3.0": (files.aedat3(EVENTS, version="3.0"), "version '3.0'"),
    "a chip of no camera": (files.aedat2(EVENTS, chip="AEChip: cochlea"), "chip is not known"),
    "an endless packet of aedat 4": (
        files.aedat4(EVENTS) + struct.pack("<ii", 1, (1 << 31) - 1) + bytes(99),
        "one has 2,147,483,647 bytes",
    ),
    "aedat without events": (files.aedat2(EVENTS[:1])[:-16], "no event"),
    "a damaged packet": (
        files.aedat3(EVENTS).replace(struct.pack("<I", 101), b"\xff" * 4), "packet .* damaged",
    ),
    "dat of another version": (files.dat(EVENTS, version=1), "dat of version 1"),
    "dat of another width": (files.dat(EVENTS).replace(b"\x0c\x08", b"\x0c\x10"), "8 bytes"),
    "evt of another version": (files.evt2(EVENTS, head="% evt 2.1\n"), "version 2.1 of EVT"),
    "evt4": (files.evt2(EVENTS, head="% format EVT4\n"), "version 4 of EVT"),
    "evt without times": (b"% evt 2.0\n" + bytes(400), "no event"),
    "dat beyond its size": (
        files.dat(EVENTS, size="% Height 20\n% Width 34\n"), r"beyond the size .* = \(20, 34\)",
    ),
    "dat whose times fall": (files.dat(EVENTS[::-1]), "times fall"),
    "no unit": (files.table(EVENTS, "t,x,y,p"), "no unit of time; name the column t_us"),
    "no number": (files.table(EVENTS) + b"a,1,2,1\n", "convert string 'a'"),
    "a short row": (files.table(EVENTS) + b"1,1\n" + files.table(EVENTS)[20:], "row"),
    "half a pixel": (files.table(EVENTS) + b"9e6,1.5,2,1\n", "whole numbers"),
    "no time": (files.table(EVENTS) + b"nan,1,2,1\n", "times are not all"),
    "one endless line": (b"t_us,x,y,p\n" + b"1" * 5000, "cannot|convert|no event|row"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(tmp_path: Path, name: str):
    content, says = REFUSED[name]
    path = files.write(tmp_path / "a.raw", content)
    assert READER.claims(path)
    error = refused(DecodeError, says, read, path)
    assert "\n" not in error.value.message
    assert "reading it failed" not in error.value.message


def test_aedat4_without_its_library_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "aedat", None)
    path = files.write(tmp_path / "a.aedat4", files.aedat4(EVENTS))
    assert READER.claims(path)
    refused(DecodeError, re.escape(pip_install("events")), read, path)


# Files of real cameras

STATED = re.compile(r"first ([\d,]+) events|decodes to (\d+) events")


def slowly(path: Path) -> Iterator[int]:
    """Times of the events of a file, each record by itself."""
    data = path.read_bytes()
    if path.suffix == ".aedat":
        at = 0
        while data[at : at + 1] == b"#":
            at = data.index(b"\n", at) + 1
        yield from (time for _, time in struct.iter_unpack(">II", data[at:]))
    elif path.suffix == ".dat":
        at = data.index(b"\n", data.index(b"% Date")) + 3
        yield from (time for time, _ in struct.iter_unpack("<II", data[at:]))
    elif path.suffix == ".bin":
        for _, _, a, b, c in struct.iter_unpack("5B", data):
            yield (a & 127) << 16 | b << 8 | c
    elif "evt2" in path.name:
        high, at = 0, data.index(b"% evt 2.0\n") + 10
        for (word,) in struct.iter_unpack("<I", data[at : at + (len(data) - at) // 4 * 4]):
            if word >> 28 == 8:
                high = word & 0xFFFFFFF
            elif word >> 28 < 2:
                yield high << 6 | word >> 22 & 63
    else:
        high = low = 0
        at = data.index(b"% system_ID 48\n") + 15
        for (word,) in struct.iter_unpack("<H", data[at : at + (len(data) - at) // 2 * 2]):
            kind, value = word >> 12, word & 4095
            high, low = (value if kind == 8 else high), (value if kind == 6 else low)
            bits = {2: 1, 4: value.bit_count(), 5: (value & 255).bit_count()}.get(kind, 0)
            yield from [high << 12 | low] * bits


@pytest.fixture
def real(real_videos: Path) -> Path:
    folder = real_videos.parent / "modalities" / "event_formats"
    if not folder.is_dir():
        pytest.skip("files of real event cameras are not on this machine")
    return folder


def test_counts_and_times_of_real_files(real: Path):
    with (real.parent / "manifest.csv").open(newline="") as file:
        notes = {Path(row["path"]).name: row["note"] for row in csv.DictReader(file)}
    read_ones = []
    for path in sorted(real.iterdir()):
        if path.suffix not in (".mat", ".aedat4") and "header" not in path.name:
            info, clip, times = READER.probe(path), read(path), list(slowly(path))
            assert (info.n_samples, len(clip.data)) == (len(times), len(times))
            assert (info.meta["start_us"], clip.data[-1]["t"]) == (times[0], times[-1] - times[0])
            stated = STATED.search(notes[path.name])
            if stated:
                assert len(times) == int((stated[1] or stated[2]).replace(",", ""))
                read_ones.append(path.name)
    assert len(read_ones) == 3
    refused(DecodeError, "no event", read, real / "sample_aedat_header.aedat")


def test_aedat4_of_a_real_camera(tmp_path: Path, real: Path):
    pytest.importorskip("aedat")
    path = real / "sample.aedat4"
    clip = read(path)
    assert (len(clip.data), clip.meta["size"], clip.meta["assumed"]) == (111_954, (240, 320), ())
    assert clip.meta["start_us"] == 1_605_537_493_718_345
    assert clip.data[-1]["t"] == 1_605_537_494_308_262 - 1_605_537_493_718_345
    cut = read(files.write(tmp_path / "cut", path.read_bytes()[:500_000]))
    np.testing.assert_array_equal(cut.data, clip.data[: len(cut.data)])
    assert len(cut.data) == 59_065
    assert cut.lost > 0
    refused(
        DecodeError, "header is damaged", read, files.write(tmp_path / "b", path.read_bytes()[:300])
    )

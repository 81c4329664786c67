"""Small files that once took gigabytes or no end: each is one sentence, in time and in memory."""

from __future__ import annotations

import io
import json
import pickle
import re
import resource
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import event_files
from tests.hostile.test_any_bytes import peak_bytes
from tests.refusals import refused
from vlar.encoders.base import Encoder, load_encoder
from vlar.errors import DecodeError
from vlar.media.base import read_recorded, recorded
from vlar.media.lookup import read_clip, reader
from vlar.media.skeleton import export
from vlar.media.skeleton.formats.base import Bodies
from vlar.media.video.files import content_hash
from vlar.media.video.sample import windows
from vlar.methods.events.representations import EVENT
from vlar.pose import signals
from vlar.types import Clip, Sampling, Window

LONGEST_S = 10.0  # of processor time
MOST_BYTES = 1_500_000_000


@pytest.fixture(autouse=True)
def limited(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files are read in this process, whose time and memory count; more than 3 GB fails."""
    monkeypatch.setenv("VLAR_DECODE_WORKERS", "0")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + 2 * MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def outcome(sensor: str, path: Path) -> str:
    """What reading a file leads to: a sentence, or nothing where it is read."""
    begin_s, before, message = time.process_time(), peak_bytes(), ""
    source = reader(sensor)
    source.claims(path)
    try:
        source.probe(path)
        source.read_clip(path, None, source.every_sample(path, None))
    except DecodeError as error:
        message = error.message
    assert time.process_time() - begin_s < LONGEST_S, message
    assert peak_bytes() - before < MOST_BYTES, message
    assert "\n" not in message
    assert not message or str(path) in message
    return message


# Spans of microseconds


@pytest.mark.parametrize("span_s", [2e-5, 4e-7])
@pytest.mark.parametrize("sensor", ["imu", "skeleton", "depth"])
def test_a_span_of_microseconds_is_answered_at_once(
    tmp_path: Path, sensor: str, span_s: float
) -> None:
    from vlar.model.model import load

    path = reader(sensor).example(tmp_path)
    model = load(sensor)
    model.classify(path, ["wave", "sit"])  # its words are encoded once
    begin_s = time.process_time()
    model.classify(path, ["wave", "sit"], at=(1.0, 1.0 + span_s))
    assert time.process_time() - begin_s < LONGEST_S


def test_a_video_span_of_microseconds_is_answered_at_once(tmp_path: Path, lite_model: Any) -> None:
    path = reader("video").example(tmp_path)
    lite_model.classify(path, ["wave", "sit"])
    begin_s = time.process_time()
    lite_model.classify(path, ["wave", "sit"], at=(1.0, 1.0000004))
    assert time.process_time() - begin_s < 3 * LONGEST_S


def test_a_width_far_beyond_a_signal_is_its_mean_of_ends() -> None:
    """The closed sum equals the long one, and a width of 1e12 costs nothing."""
    signal = np.random.default_rng(0).normal(size=(9, 2)).cumsum(axis=0)
    width = 1500.0
    weights = np.exp(-0.5 * (np.arange(-6000, 6001) / width) ** 2)
    longer = np.pad(signal, ((6000, 6000), (0, 0)), "edge")
    slow = np.stack([(longer[i : i + 12001] * weights[:, None]).sum(0) for i in range(9)])
    assert np.allclose(signals.smooth(signal, width), slow / weights.sum(), atol=1e-6)
    begin_s = time.process_time()
    far = signals.smooth(signal, 1e12)
    assert np.allclose(far, (signal[0] + signal[-1]) / 2, atol=1e-6)
    assert time.process_time() - begin_s < 1


def test_the_rate_of_a_window_is_no_more_than_a_recording_can_have() -> None:
    assert signals.frame_rate(32, 1e-5) == signals.MOST_FPS
    assert signals.frame_rate(31, 1.0) == 30.0


def features(encoder: Encoder, path: Path, at: Window, **meta: Any) -> Any:
    """Features of a window, with other facts of its recording."""
    clip = reader(encoder.modality).read_clip(path, at, encoder.sampling)
    return encoder.encode([replace(clip, meta={**clip.meta, **meta})])[0].features


@pytest.mark.parametrize("sensor", ["imu", "skeleton", "depth"])
def test_a_window_has_the_rate_of_its_recording(tmp_path: Path, sensor: str) -> None:
    """An ordinary window is as it was; one of microseconds is a moment, not a million samples."""
    path = reader(sensor).example(tmp_path)
    encoder = load_encoder(sensor)
    usual, short = Window(0.0, 1.5), Window(1.0, 1.00002)
    assert np.array_equal(
        features(encoder, path, usual), features(encoder, path, usual, rate_hz=None)
    )
    slow = features(encoder, path, short, rate_hz=10.0)
    quick = features(encoder, path, short, rate_hz=1000.0)
    assert np.abs(slow).max() > 0
    assert not np.array_equal(slow, quick)


def test_samples_stand_at_most_eight_times_as_close_as_in_the_recording() -> None:
    times_s = np.linspace(1.0, 1.00002, 32)
    assert signals.clock(times_s, None) is times_s
    moved = signals.clock(times_s, 30.0)
    assert signals.frame_rate(32, moved[-1] - moved[0]) == pytest.approx(8 * 30.0)
    usual = np.linspace(1.0, 2.0, 32)
    assert signals.clock(usual, 30.0) is usual


# Events


def far_apart(path: Path) -> None:
    events = np.zeros(2, EVENT)
    events["t"], events["x"] = (0, 10**13), (1, 5)
    np.save(path, events)


def wrapping(path: Path) -> None:
    """A clock of 23 bits that wraps 10,000 times."""
    events = event_files.made(20_000)
    events["t"] = np.tile([10, (1 << 23) - 10], 10_000)
    path.write_bytes(event_files.nmnist(events))


def wrapping_evt3(path: Path) -> None:
    """Upper parts of the time that wrap a million times between two events."""
    turns = np.tile(np.array([8 << 12, 8 << 12 | 4095], "<u2"), 100_000)
    event = np.array([8 << 12, 6 << 12, 3, 2 << 12 | 5], "<u2")
    other = np.array([9, 2 << 12 | 9], "<u2")
    path.write_bytes(
        b"% evt 3.0\n" + event.tobytes() + turns.tobytes() + other.tobytes() + event.tobytes()
    )


def nested_xml(path: Path) -> None:
    made = event_files.aedat4(event_files.made(50))
    begin = made.index(b"<dv")
    deep = b"<node>" * 60_000 + b"</node>" * 60_000
    size = int.from_bytes(made[14:18], "little") + len(deep)
    path.write_bytes(made[:14] + struct.pack("<I", size) + made[18:begin] + deep + made[begin:])


def zstd_bomb(path: Path) -> None:
    """A packet whose frame states 2 GB."""
    made = event_files.aedat4(event_files.made(50))
    frame = b"\x28\xb5\x2f\xfd" + bytes([0xE0]) + (2 << 30).to_bytes(8, "little") + bytes(40)
    path.write_bytes(made + struct.pack("<ii", 0, len(frame)) + frame)


def thin_columns(path: Path) -> None:
    """Columns of one byte: 720 kB that were 5.3 GB as events."""
    count = 150_000_000
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (count,)}
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in "xytp":
            with archive.open(f"{name}.npy", "w") as stream:
                stream.write(header.getvalue())
                for _ in range(15):
                    stream.write(bytes(count // 15))


def many_arrays(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in [*"xytp", *map(str, range(9_900))]:
            stream = io.BytesIO()
            np.save(stream, np.zeros(0, np.uint8))
            archive.writestr(f"{name}.npy", stream.getvalue())


def many_entries(path: Path) -> None:
    """A list of a million entries, which zipfile reads whole."""
    entry = b"PK\1\2" + bytes(42) + b""
    entry = entry[:28] + struct.pack("<H", 1) + entry[30:] + b"x"
    body = entry * 1_000_000
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, len(body), 4, 0)
    path.write_bytes(b"PK\3\4" + body + end)


def negative_shape(path: Path) -> None:
    kinds = [("x", "<u2"), ("y", "<u2"), ("t", "<i8"), ("p", "?")]
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": kinds, "fortran_order": False, "shape": (7_000_005,)}
    )
    text = header.getvalue().replace(b"(7000005,)", b"(-5,)     ")
    path.write_bytes(text + np.zeros(3, kinds).tobytes())


def late_seconds(path: Path) -> None:
    """Seconds that fit, and are no microseconds that do."""
    rows = np.zeros(3, [("x", "<u2"), ("y", "<u2"), ("t", "<f8"), ("p", "?")])
    rows["t"], rows["x"] = (0.0, 1.0, 9e17), (1, 2, 3)
    np.save(path, rows)


def mostly_missing(path: Path) -> None:
    events = event_files.made(1000)
    np.save(path, events)
    path.write_bytes(path.read_bytes()[: -990 * EVENT.itemsize])


EVENT_CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "far.npy": (far_apart, "lasts 10,000,000 s with 2 samples"),
    "wraps.bin": (wrapping, "lasts|none that is read"),
    "wraps.raw": (wrapping_evt3, "lasts"),
    "deep.aedat4": (nested_xml, "nested over"),
    "bomb.aedat4": (zstd_bomb, "unpacks to 2,147,483,648 bytes"),
    "thin.npz": (thin_columns, "GB of memory"),
    "arrays.npz": (many_arrays, "no event|list of entries"),
    "shape.npy": (negative_shape, "states the shape"),
    "seconds.npy": (late_seconds, "times are not all"),
    "lost.npy": (mostly_missing, "events are missing"),
    "entries.npz": (many_entries, "list of entries|of none that is read"),
}


@pytest.mark.parametrize("name", EVENT_CASES)
def test_events_are_one_sentence(tmp_path: Path, name: str) -> None:
    make, says = EVENT_CASES[name]
    make(tmp_path / name)
    message = outcome("events", tmp_path / name)
    assert re.search(says, message), message


def test_packets_of_single_events_are_read_together(tmp_path: Path) -> None:
    events = event_files.made(100_000)
    (tmp_path / "a.aedat").write_bytes(event_files.aedat3(events, packet=1))
    assert outcome("events", tmp_path / "a.aedat") == ""
    clip = read_clip(tmp_path / "a.aedat")
    assert np.array_equal(clip.data["t"], events["t"])


def test_empty_stretches_are_skipped_and_stated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events = event_files.made(20_000)
    events["t"][10_000:] += 900_000_000
    np.save(tmp_path / "a.npy", events)
    source = reader("events")
    spans = [Window(2.0 * n, 2.0 * n + 4) for n in range(450)]
    with caplog.at_level("INFO", "vlar"):
        kept = list(recorded(source, tmp_path / "a.npy", spans))
    assert 1 <= len(kept) < 5
    assert "nothing was recorded in 900 s" in caplog.text


def test_windows_of_weeks_are_made_one_by_one(tmp_path: Path) -> None:
    """Five weeks in windows of 0.3 s: 10 million, of which the first are read at once."""
    spans = windows(2_999_999.0, 0.3, 0.3)
    assert len(spans) == 9_999_997
    before = peak_bytes()
    assert spans[-1].end_s == pytest.approx(2_999_999.0)
    source = reader("events")
    np.save(tmp_path / "a.npy", event_files.made(100))
    clips = read_recorded(source, tmp_path / "a.npy", iter(spans), Sampling(8, all_samples=True))
    first = next(clips)
    assert isinstance(first, Clip)
    assert len(first.data)
    assert peak_bytes() - before < 50e6


def test_windows_are_a_sequence() -> None:
    spans = windows(9.0, 4.0, 4.0)
    assert spans == [Window(0.0, 4.0), Window(4.0, 8.0), Window(5.0, 9.0)]
    assert spans[-1] == Window(5.0, 9.0)
    assert spans[:2] == list(spans)[:2]
    assert windows(3.0, 4.0, 4.0) == [Window(0.0, 3.0)]


# Signals


def imu(*rows: str, head: str = "time_s,acc_x_g") -> Callable[[Path], None]:
    return lambda path: path.write_text("\n".join([head, *rows])) and None


def depth_folder(path: Path) -> None:
    from PIL import Image

    path.mkdir()
    for number in range(3):
        Image.fromarray(np.full((4, 4), 900, np.uint16)).save(path / f"{number}.png")
    (path / "depth.json").write_text(json.dumps({"rate_hz": 1e-6}))


def lines_of(line: str, count: int, head: str = "") -> Callable[[Path], None]:
    """A table of one line many times."""
    return lambda path: path.write_bytes(head.encode() + line.encode() * count) and None


def many_devices(path: Path) -> None:
    names = [f"d{number}_acc_x_g" for number in range(100_000)]
    row = ",".join(["1"] * len(names))
    path.write_text("\n".join(["time_s," + ",".join(names), "0," + row, "1," + row]))


def many_names(path: Path) -> None:
    with path.open("w") as file:
        file.write('{"skeletons": {')
        for number in range(3_000):
            file.write(",".join(f'"{1000 * number + n:08}":1' for n in range(1000)) + ",")
        file.write('"x": 1}}')


def matlab(*variables: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + b"".join(variables)


def variable(name: bytes, shape: tuple[int, int], kind: int, content: bytes) -> bytes:
    """A variable of MATLAB, not compressed."""
    name = name.ljust(-(-len(name) // 8) * 8, b"\0")
    inner = struct.pack("<IIII", 6, 8, 9, 0) + struct.pack("<IIii", 5, 8, *shape)
    inner += struct.pack("<II", 1, len(name.rstrip(b"\0"))) + name
    inner += struct.pack("<II", kind, len(content)) + content
    return struct.pack("<II", 14, len(inner)) + inner


def wide_bytes(path: Path) -> None:
    """(60M, 6) bytes that become floats: 360 kB packed."""
    inner = variable(b"d_iner", (60_000_000, 6), 2, bytes(360_000_000))
    packed = zlib.compress(inner, 1)
    path.write_bytes(matlab(struct.pack("<II", 15, len(packed)) + packed))


def many_variables(path: Path) -> None:
    path.write_bytes(matlab(variable(b"x", (0, 0), 2, b"") * 100_000))


def long_pickle(path: Path) -> None:
    path.write_bytes(b"\x80\x02](" + b"K\x01" * 15_000_000 + b"e.")


def shared_bytes(path: Path) -> None:
    """900 arrays that state one run of 3 MB."""
    array = np.zeros(3_000_000, np.uint8)
    start = pickle.dumps(array, protocol=3)
    # The state of the array is a tuple of which the memo keeps the bytes.
    path.write_bytes(pickle.dumps({"annotations": [{"keypoint": array}] * 900}, protocol=4))
    assert len(start) > 3_000_000


def empty_gigabyte(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"\x80\x04\x8e" + (1000 << 20).to_bytes(8, "little"))
        file.seek(1000 << 20, 1)
        file.write(b".")


SIGNAL_CASES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "apart.csv": (
        "imu", imu(*(f"{9999 * n},{n % 3}" for n in range(20_000))), "9999 s apart|samples a second"
    ),
    "slow.csv": (
        "imu", imu("1", "2", "3", head="# rate_hz=0.0001\nacc_x_g"), "samples a second|no rate"
    ),
    "pictures": ("depth", depth_folder, "rate_hz is"),
    "column.csv": ("imu", lines_of("1\n", 23_000_000, "acc_x_g\n"), "GB of memory"),
    "devices.csv": ("imu", many_devices, "100,000 devices"),
    "wide.mat": ("imu", wide_bytes, "GB of memory"),
    "variables.mat": ("imu", many_variables, "variables|absent"),
    "names.json": ("skeleton", many_names, ""),
    "long.pkl": ("skeleton", long_pickle, "GB of memory"),
    "shared.pkl": ("skeleton", shared_bytes, ""),
    "empty.pkl": ("skeleton", empty_gigabyte, ""),
}  # fmt: skip


SLOW = ("long.pkl", "names.json", "empty.pkl", "wide.mat")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in SIGNAL_CASES],
)
def test_signals_are_one_sentence(tmp_path: Path, name: str) -> None:
    sensor, make, says = SIGNAL_CASES[name]
    make(tmp_path / name)
    message = outcome(sensor, tmp_path / name)
    assert re.search(says, message), message


def unmeasured_imu(path: Path) -> None:
    """Ten seconds, of which nothing was measured from the second to the eighth."""
    rows = (f"{n / 50:.2f}," + ("" if 100 <= n < 400 else f"0.{n % 7}") for n in range(500))
    path.write_text("\n".join(["time_s,acc_x_g", *rows]))


def unmeasured_joints(path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(300, 1, 25, 3)).astype(np.float32)
    points[60:240] = np.nan
    export.write(path, Bodies(points, "ntu25", "m", 30.0))


def unmeasured_depth(path: Path) -> None:
    frames = np.full((300, 30, 40), 900, np.uint16)
    frames[60:240] = 0
    np.save(path, frames)


@pytest.mark.parametrize(
    ("sensor", "name", "make"),
    [
        ("imu", "a.csv", unmeasured_imu),
        ("skeleton", "a.npz", unmeasured_joints),
        ("depth", "a.npy", unmeasured_depth),
    ],
)
def test_a_clip_of_which_all_is_lost_is_an_error(
    tmp_path: Path, sensor: str, name: str, make: Callable[[Path], None]
) -> None:
    """It was answered "still" with 99.98 %. In a series such windows are skipped, in one line."""
    path, source = tmp_path / name, reader(sensor)
    make(path)
    words = r"nothing was recorded from 3 to 6 s; give another"
    refused(DecodeError, words, source.read_clip, path, Window(3.0, 6.0), Sampling(16))
    assert source.read_clip(path, Window(0.0, 1.5), Sampling(16)).data.any()
    (gap,) = source.gaps(path)
    assert gap.start_s == pytest.approx(2.0, abs=0.05)
    assert gap.end_s == pytest.approx(8.0, abs=0.05)
    starts = [span.start_s for span in recorded(source, path, windows(10.0, 1.0, 1.0))]
    assert {0, 1, 8, 9} <= set(starts)
    assert not {3, 4, 5, 6} & set(starts)


def test_a_part_of_a_bundle_is_hashed_only_where_it_lies_on_the_disk(tmp_path: Path) -> None:
    """1 TB that takes no room, and a file of the system that never ends."""
    with (tmp_path / "empty.mp4").open("wb") as file:
        file.truncate(1 << 40)
    for part in ("empty.mp4", "/proc/kmsg"):
        (tmp_path / "x.bundle.json").write_text(json.dumps({"video": part}))
        begin_s = time.process_time()
        content_hash(tmp_path / "x.bundle.json")
        assert time.process_time() - begin_s < 1
        with pytest.raises(DecodeError):
            content_hash(tmp_path / part)

"""The frame asked for is the frame given: every kind of file, any rate, far in, and in order."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import videos
from tests.conftest import SHARED
from tests.refusals import refused
from vlar.errors import DecodeError, UsageError
from vlar.files import reading
from vlar.media.video.container import PYAV, OpenVideo, opened
from vlar.media.video.decode import ClipRequest, read_clip, read_clips, read_windows
from vlar.media.video.pixels import Converter, shrunk
from vlar.media.video.sample import frame_times, windows
from vlar.media.video.source import probe
from vlar.plugins.integrity.check import check_video
from vlar.types import Clip, Failure, Window


@cache
def truth(path: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    times_s, frames = videos.decode_all(path)
    convert = Converter(None)
    return times_s, [convert(frame) for frame in frames]


def assert_right(path: Path, clip: Clip) -> None:
    times_s, pictures = truth(path)
    wanted = frame_times(clip.window, len(clip.data))
    index = np.maximum(np.searchsorted(times_s, wanted + 1e-6, side="right") - 1, 0)
    np.testing.assert_allclose(clip.times_s, times_s[index], atol=1e-9)
    for position, picture in zip(index, clip.data, strict=True):
        assert videos.read_barcode(picture) == videos.read_barcode(pictures[position])
        np.testing.assert_array_equal(picture, pictures[position])
    assert clip.lost == 0


@pytest.mark.parametrize("name", videos.KINDS)
def test_the_maker_writes_what_it_says(name: str, kind: Callable[[str], Path]):
    numbers = [videos.read_barcode(picture) for picture in truth(kind(name))[1]]
    first = 60 - len(numbers) if name == "h264-edit-list.mp4" else 0
    assert numbers == list(range(first, first + len(numbers)))
    assert len(numbers) == {"h264-one-frame.mp4": 1, "h264-edit-list.mp4": 42}.get(name, 60)


@pytest.mark.parametrize("name", videos.KINDS)
def test_whole_video(name: str, kind: Callable[[str], Path]):
    path = kind(name)
    for n_frames in (1, 8, 100):
        assert_right(path, read_clip(path, None, n_frames))
    times_s, pictures = truth(path)
    info = probe(path)
    assert info.n_frames == len(pictures)
    assert (info.height, info.width) == pictures[0].shape[:2]
    assert times_s[-1] < info.duration_s <= times_s[-1] + 0.2
    assert read_clip(path).window == Window(0.0, info.duration_s)


@pytest.mark.parametrize("name", videos.KINDS)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_window(name: str, kind: Callable[[str], Path], data: st.DataObject):
    path = kind(name)
    end_s = float(truth(path)[0][-1]) + 0.01
    ends = data.draw(st.tuples(st.floats(-0.2, end_s), st.floats(-0.2, end_s)))
    window = Window(min(ends), max(ends))
    assert_right(path, read_clip(path, window, data.draw(st.integers(1, 12))))


@pytest.mark.parametrize("name", videos.KINDS)
def test_exact_frame_times_give_that_frame(name: str, kind: Callable[[str], Path]):
    path = kind(name)
    for time_s in truth(path)[0][::7]:
        clip = read_clip(path, Window(time_s, time_s), 1)
        assert clip.times_s[0] == pytest.approx(time_s)
        assert_right(path, clip)


@pytest.mark.parametrize("name", videos.KINDS)
def test_many_windows_in_one_pass(name: str, kind: Callable[[str], Path]):
    path = kind(name)
    end_s = probe(path).duration_s
    rng = np.random.default_rng(3)
    ends = np.sort(rng.uniform(0, end_s - 0.001, (9, 2)), axis=1)
    spans = [Window(float(a), float(b)) for a, b in ends[np.argsort(ends[:, 0])]]
    spans += spans[:2]  # a step backwards begins another pass
    clips = list(read_windows(path, spans, 5))
    assert [clip.window for clip in clips if isinstance(clip, Clip)] == spans
    for clip in clips:
        assert isinstance(clip, Clip)
        assert_right(path, clip)


def test_a_clip_that_takes_more_memory_than_a_file_may_is_refused(
    kind: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
):
    """The first picture gives the size; the others are not decoded."""
    path = kind(next(iter(videos.KINDS)))
    monkeypatch.setattr(reading, "MOST_MEMORY", 1e4)
    refused(
        DecodeError, r"40 pictures of .* GB of memory; .* ask for fewer", read_clip, path, None, 40
    )
    (failure,) = read_windows(path, [Window(0.0, 1.0)], 40)
    assert isinstance(failure, Failure)
    assert "ask for fewer" in failure.message


def test_one_key_frame_in_a_whole_video(tmp_path: Path):
    options = {"x264-params": "keyint=infinite:bframes=3:scenecut=0"}
    path = videos.make_video(tmp_path / "a.mp4", 1500, gop=9999, options=options)
    spans = [Window(i, i + 2) for i in range(0, 58, 7)]
    for clip, span in zip(read_windows(path, spans, 4), spans, strict=True):
        assert isinstance(clip, Clip)
        numbers = [videos.read_barcode(frame) for frame in clip.data]
        assert numbers == np.floor(frame_times(span, 4) * 25 + 1e-4).tolist()


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_rotation_and_mirroring_are_applied(tmp_path: Path, turns: int, mirrored: bool):
    upright = videos.barcode(1234)
    upright[:8, :8] = 0  # tells the corners apart
    stored = np.rot90(upright[:, ::-1] if mirrored else upright, -turns)
    size = (stored.shape[1], stored.shape[0])
    path = videos.make_video(
        tmp_path / "turned.mp4",
        3,
        size=size,
        rotation_deg=90 * turns,
        mirrored=mirrored,
        picture=lambda _: stored,
    )
    clip = read_clip(path, None, 2)
    assert clip.data.shape == (2, 64, 96, 3)
    assert videos.read_barcode(clip.data[0]) == 1234
    assert np.abs(clip.data[0].astype(int) - upright).mean() < 6
    info = probe(path)
    assert (info.width, info.height) == (96, 64)
    assert info.rotation_deg == (90 * turns) % 360 or mirrored


def test_a_change_of_size_inside_a_stream_keeps_the_first_size(tmp_path: Path):
    first = videos.make_video(tmp_path / "a.ts", 25)
    second = videos.make_video(tmp_path / "b.ts", 25, size=(128, 80), start_s=1.0)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    clip = read_clip(joined, None, 10)
    assert clip.data.shape == (10, 64, 96, 3)
    numbers = [videos.read_barcode(frame) for frame in clip.data]
    assert numbers[0] < 5
    assert numbers[-1] > 18


def test_time_stamps_that_start_again_go_on(tmp_path: Path):
    part = videos.make_video(tmp_path / "a.ts", 50).read_bytes()
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part + part)
    assert probe(joined).duration_s == pytest.approx(4.0, abs=0.2)
    clip = read_clip(joined, Window(0.0, 4.0), 20)
    numbers = np.array([videos.read_barcode(frame) for frame in clip.data])
    wanted = (frame_times(clip.window, 20) * 25).astype(int) % 50
    assert (np.abs(numbers - wanted) <= 1).all()
    assert (np.diff(clip.times_s) > 0).all()


def test_1x1(tmp_path: Path):
    path = videos.make_video(
        tmp_path / "dot.mp4",
        5,
        size=(1, 1),
        pix_fmt="yuv444p",
        picture=lambda i: videos.blank(40 * i, (1, 1)),
    )
    clip = read_clip(path, None, 5, shorter_side=224)
    assert clip.data.shape == (5, 1, 1, 3)
    assert np.abs(clip.data[:, 0, 0, 0].astype(int) - 40 * np.arange(5)).max() < 12


seconds = st.floats(0.0, 10_000.0)

spans = st.floats(0.05, 500.0)


@given(seconds, seconds, st.integers(1, 64))
def test_frame_times_are_midpoints_of_equal_segments(a: float, b: float, n_frames: int):
    window = Window(min(a, b), max(a, b))
    times = frame_times(window, n_frames)
    assert times.shape == (n_frames,)
    assert times.dtype == np.float64
    assert (times >= window.start_s).all()
    assert (times <= window.end_s).all()
    edges = np.linspace(window.start_s, window.end_s, n_frames + 1)
    np.testing.assert_allclose(times, (edges[:-1] + edges[1:]) / 2, atol=1e-9 * (1 + window.end_s))


@given(st.floats(0.0, 2000.0), spans, spans)
def test_windows_cover_the_video_without_slivers(
    duration_s: float, window_s: float, stride_s: float
):
    found = windows(duration_s, window_s, stride_s)
    assert found[0].start_s == 0.0
    if duration_s <= window_s:
        assert found == [Window(0.0, duration_s)]
        return
    starts = [w.start_s for w in found]
    assert starts == sorted(set(starts))
    for window in found:
        assert window.start_s >= 0
        assert window.end_s <= duration_s + 1e-9
        assert math.isclose(window.duration_s, window_s, rel_tol=1e-6, abs_tol=1e-6)
    assert duration_s - found[-1].end_s <= 0.01 * window_s + 1e-9
    for before, after in pairwise(found[:-1]):
        assert math.isclose(after.start_s - before.start_s, stride_s, rel_tol=1e-6)
    assert found[-1].start_s - found[-2].start_s <= stride_s * (1 + 1e-6) if found[1:] else True


def test_a_whole_number_of_strides_adds_no_tail():
    for duration_s in (0.3, 0.3 - 1e-12, 0.3 + 1e-12, 3 * 0.1):
        assert len(windows(duration_s, 0.1, 0.1)) == 3
    assert len(windows(10.0, 4.0, 2.0)) == 4


def test_windows_refuse_what_is_no_span():
    for duration_s, window_s, stride_s in [
        (10, 0, 1), (10, 1, 0), (10, -1, 1), (-1, 1, 1), (math.nan, 1, 1), (10, math.inf, 1),
        (1e9, 1, 1e-3),
    ]:  # fmt: skip
        refused(UsageError, "", windows, duration_s, window_s, stride_s)


def test_frame_times_refuse_what_is_no_span():
    for window, n_frames in [
        (Window(0, 1), 0), (Window(2, 1), 4), (Window(0, math.nan), 4), (Window(-math.inf, 0), 4),
    ]:  # fmt: skip
        refused(UsageError, "", frame_times, window, n_frames)


@given(st.integers(1, 8000), st.integers(1, 8000), st.integers(1, 3000))
def test_shrinking_keeps_the_aspect_and_never_enlarges(width: int, height: int, side: int):
    new_width, new_height = shrunk(width, height, side)
    assert 1 <= new_width <= width
    assert 1 <= new_height <= height
    assert min(new_width, new_height) == min(width, height, side)
    scale = min(1.0, side / min(width, height))
    assert abs(new_width - width * scale) <= 0.5
    assert abs(new_height - height * scale) <= 0.5


@pytest.mark.parametrize(
    ("side", "shape"), [(32, (32, 48)), (33, (33, 50)), (64, (64, 96)), (500, (64, 96))]
)
def test_shorter_side(tmp_path: Path, side: int, shape: tuple[int, int]):
    path = videos.make_video(tmp_path / "a.mp4", 30)
    clip = read_clip(path, None, 4, shorter_side=side)
    assert clip.data.shape == (4, *shape, 3)
    whole = read_clip(path, None, 4)
    numbers = [videos.read_barcode(frame) for frame in clip.data]
    assert numbers == [videos.read_barcode(frame) for frame in whole.data]


def test_shrinking_averages_areas(tmp_path: Path):
    stripes = np.zeros((96, 96, 3), dtype=np.uint8)
    stripes[::2] = 255
    path = videos.make_video(
        tmp_path / "a.mkv",
        2,
        size=(96, 96),
        codec="ffv1",
        pix_fmt="yuv444p",
        picture=lambda _: stripes,
    )
    small = read_clip(path, None, 1, shorter_side=24).data[0]
    assert np.abs(small.astype(int) - 127).max() <= 4


def test_a_turned_video_is_shrunk_by_its_shorter_side(tmp_path: Path):
    path = videos.make_video(tmp_path / "a.mp4", 2, rotation_deg=90)
    assert read_clip(path, None, 1, shorter_side=32).data.shape == (1, 48, 32, 3)


REAL = SHARED / "videos"

FILES = sorted(p for p in REAL.rglob("*") if p.suffix in (".mp4", ".avi", ".mkv", ".mpg", ".gif"))


@pytest.mark.skipif(not FILES, reason="no real clips beside the checkout")
@pytest.mark.parametrize("path", FILES[::16], ids=lambda p: p.name)
def test_equal_to_sequential_decoding(path: Path):
    times_s, frames = videos.decode_all(path)
    convert = Converter(None)
    for window in (None, Window(times_s[-1] * 0.31, times_s[-1] * 0.77)):
        clip = read_clip(path, window)
        wanted = frame_times(clip.window, 8)
        index = np.maximum(np.searchsorted(times_s, wanted + 1e-6, side="right") - 1, 0)
        np.testing.assert_allclose(clip.times_s, times_s[index])
        np.testing.assert_array_equal(clip.data, np.stack([convert(frames[i]) for i in index]))
        assert clip.lost == 0
    assert check_video(path).ok


def test_results_come_in_order_and_errors_are_values(kind: Callable[[str], Path], tmp_path: Path):
    good, other = kind("h264-b-frames.mp4"), kind("vp9.webm")
    missing = tmp_path / "missing.mp4"
    requests = [
        ClipRequest(good, Window(0, 1), 4),
        ClipRequest(missing),
        ClipRequest(other, None, 3),
        ClipRequest(good, Window(3, 2), 4),
        ClipRequest(good, Window(1, 2), 2),
    ] * 3
    results = list(read_clips(requests, workers=3, look_ahead=5))
    assert [r.path for r in results] == [r.path for r in requests]
    kinds = [r.kind if isinstance(r, Failure) else len(r.data) for r in results]
    assert kinds == [4, "decode", 3, "usage", 2] * 3
    first = results[0]
    assert isinstance(first, Clip)
    assert (first.data == read_clip(good, Window(0, 1), 4).data).all()


def test_requests_are_drawn_only_as_needed(kind: Callable[[str], Path]):
    path = kind("h264-b-frames.mp4")
    drawn = 0

    def endless() -> Iterator[ClipRequest]:
        nonlocal drawn
        while True:
            drawn += 1
            yield ClipRequest(path, Window(0, 1), 2)

    clips = read_clips(endless(), workers=2, look_ahead=3)
    assert drawn == 0
    for count in range(1, 6):
        next(clips)
        assert drawn <= count + 3
    clips.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("vlar-decode")]


def test_an_error_of_the_caller_stops_the_workers(kind: Callable[[str], Path]):
    path = kind("h264-b-frames.mp4")

    def consume() -> None:
        clips = read_clips([ClipRequest(path)] * 50)
        try:
            for _ in clips:
                raise RuntimeError("the caller failed")
        finally:
            clips.close()

    refused(RuntimeError, "the caller failed", consume)
    assert not [t for t in threading.enumerate() if t.name.startswith("vlar-decode")]


def test_decoding_goes_on_while_the_caller_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = videos.make_video(tmp_path / "a.mp4", 20)
    decoded = threading.Semaphore(0)

    def counted(*arguments, **options):
        clip = read_clip(*arguments, **options)
        decoded.release()
        return clip

    monkeypatch.setattr("vlar.media.video.decode.read_clip", counted)
    clips = read_clips([ClipRequest(path)] * 3, workers=1, look_ahead=2)
    next(clips)
    for number in (1, 2):  # the caller asks for the first only, yet the second gets decoded
        assert decoded.acquire(timeout=30), f"clip {number} was not decoded ahead"
    clips.close()


def test_interrupt_ends_at_once(kind: Callable[[str], Path]):
    code = (
        "import sys, time\n"
        "from vlar.media.video.decode import ClipRequest, read_clips\n"
        "for _ in read_clips(ClipRequest(sys.argv[1]) for _ in range(10**9)):\n"
        "    print('running', flush=True)\n"
        "    time.sleep(0.01)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(kind("h264-b-frames.mp4"))],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode != 0


def test_wrong_arguments():
    for arguments in [{"workers": 0}, {"look_ahead": 0}]:
        refused(UsageError, "", read_clips, [], **arguments)
        assert list(read_clips([])) == []


FPS = 2

SEGMENT_S = 20


@pytest.fixture(scope="module")
def two_hours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("long")
    return {
        ending: videos.make_long_video(folder / f"long{ending}", 7200, fps=FPS, segment_s=SEGMENT_S)
        for ending in (".mp4", ".mkv", ".ts")
    }


def assert_right_at(clip: object) -> None:
    assert isinstance(clip, Clip)
    wanted = frame_times(clip.window, len(clip.data))
    index = np.floor(wanted * FPS + 1e-5).astype(int)
    np.testing.assert_allclose(clip.times_s, index / FPS, atol=2e-3)
    numbers = [videos.read_barcode(frame) for frame in clip.data]
    assert numbers == (index % (FPS * SEGMENT_S)).tolist()


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".ts"])
def test_windows_far_apart(two_hours: dict[str, Path], ending: str):
    path = two_hours[ending]
    assert probe(path).duration_s == pytest.approx(7200, abs=1)
    spans = windows(7200.0, 4.0, 600.25)
    clips = list(read_windows(path, spans, 4))
    assert len(clips) == len(spans)
    for clip in clips:
        assert_right_at(clip)
    assert_right_at(read_clip(path, Window(7001.1, 7003.3), 5))


def test_dense_windows(two_hours: dict[str, Path]):
    for clip in read_windows(two_hours[".mp4"], windows(600.0, 8.0, 4.0), 8):
        assert_right_at(clip)


def test_one_clip_does_not_read_the_whole_file(two_hours: dict[str, Path]):
    def cpu_s(window: Window) -> float:
        start = time.process_time()
        read_clip(two_hours[".mp4"], window, 4)
        return time.process_time() - start

    late = min(cpu_s(Window(7000, 7004)) for _ in range(3))
    assert late < 0.25


def test_memory_does_not_grow_with_the_length(tmp_path: Path, two_hours: dict[str, Path]):
    short = videos.make_long_video(tmp_path / "short.mp4", 600, fps=FPS, segment_s=SEGMENT_S)
    code = (
        "import resource, sys\n"
        "from vlar.media.video.source import probe\n"
        "from vlar.media.video.decode import read_windows\n"
        "from vlar.media.video.sample import windows\n"
        "spans = windows(probe(sys.argv[1]).duration_s, 10.0, 5.0)\n"
        "n_frames = sum(len(clip.data) for clip in read_windows(sys.argv[1], spans))\n"
        "assert n_frames == 8 * len(spans)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )

    def peak_mb(path: Path) -> int:
        command = [sys.executable, "-c", code, str(path)]
        root = Path(__file__).parents[3]
        return int(
            subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout
        )

    assert peak_mb(two_hours[".mp4"]) <= peak_mb(short) + 25


def test_open_groups_are_entered_by_a_seek_without_decoding_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """FFmpeg reports references that a seek left out; that is not damage."""
    options = {
        "preset": "medium",
        "x264-params": "scenecut=0:open-gop=1:bframes=3:b-pyramid=normal:keyint=25",
    }
    path = videos.make_video(tmp_path / "a.mp4", 1500, options=options, picture=None)

    def fail(*_: object) -> None:
        raise AssertionError("all of the file is decoded")

    monkeypatch.setattr("vlar.media.video.source.SequentialReader", fail)
    for start_s in (31.0, 45.5, 57.3):
        clip = read_clip(path, Window(start_s, start_s + 1), 5)
        numbers = [videos.read_barcode(frame) for frame in clip.data]
        assert numbers == [int(25 * (start_s + (i + 0.5) / 5) + 1e-6) for i in range(5)]
        assert clip.lost == 0


def test_vp9_is_read_by_the_decoder_that_notices_damage(tmp_path: Path):
    """Opening decodes no picture of it, so that its pixel format comes from the parser."""
    path = videos.make_video(tmp_path / "a.webm", 12, size=(96, 64), codec="libvpx-vp9")
    with opened(path, 60) as video:
        assert video.decoder.name == "libvpx-vp9"
        if PYAV < 19:
            assert video.stream.codec_context.pix_fmt is None
    found = probe(path)
    assert (found.width, found.height, found.n_frames, found.codec) == (96, 64, 12, "vp9")
    assert_right(path, read_clip(path, None, 4))


def test_a_late_picture_is_reached_without_reading_all_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = videos.make_video(tmp_path / "long.mp4", 120, fps=1, gop=10, b_frames=0)
    packets, read = OpenVideo.packets, []

    def counted(video: OpenVideo) -> Iterator[Any]:
        for packet in packets(video):
            read.append(packet.pts)
            yield packet

    monkeypatch.setattr(OpenVideo, "packets", counted)
    clip = read_clip(path, Window(100, 102), n_frames=2)
    assert [videos.read_barcode(frame) for frame in clip.data] == [100, 101]
    assert len(read) < 60

"""The frame asked for is the frame given: for every kind of file, at any time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import videos
from vlar.media.video.decode import read_clip, read_windows
from vlar.media.video.pixels import Converter
from vlar.media.video.sample import frame_times
from vlar.media.video.source import probe
from vlar.types import Clip, Window


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

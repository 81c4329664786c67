"""Long files: a window far in is reached by a seek, and memory does not grow with the length."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests import videos
from vlar.media.video.decode import read_clip, read_windows
from vlar.media.video.sample import frame_times, windows
from vlar.media.video.source import probe
from vlar.types import Clip, Window

FPS = 2
SEGMENT_S = 20


@pytest.fixture(scope="module")
def two_hours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("long")
    return {
        ending: videos.make_long_video(folder / f"long{ending}", 7200, fps=FPS, segment_s=SEGMENT_S)
        for ending in (".mp4", ".mkv", ".ts")
    }


def assert_right(clip: object) -> None:
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
        assert_right(clip)
    assert_right(read_clip(path, Window(7001.1, 7003.3), 5))


def test_dense_windows(two_hours: dict[str, Path]):
    for clip in read_windows(two_hours[".mp4"], windows(600.0, 8.0, 4.0), 8):
        assert_right(clip)


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

"""Whatever a broken file makes FFmpeg, PyAV or Pillow raise is the error of that file alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import videos
from vlar.errors import DecodeError
from vlar.media.integrity.check import check_video
from vlar.media.video.decode import ClipRequest, read_clip, read_clips, read_windows
from vlar.media.video.source import probe
from vlar.types import Clip, Failure, Window

# Seeds with which the demuxer raises IndexError (it announces streams that do not exist), and the
# decoder ArgumentError, PermissionError, BlockingIOError or PatchWelcomeError.
SEEDS = [
    *[("mpeg2.ts", seed) for seed in (1, 3, 4)],
    *[("h264-open-gop.ts", seed) for seed in (1, 7)],
    *[("h264-interlaced.ts", seed) for seed in (3, 10)],
    *[("hevc.ts", seed) for seed in (0, 7, 11, 15, 18, 28)],
    *[("mjpeg.avi", seed) for seed in (1, 7, 12)],
    *[("prores.mov", seed) for seed in (0, 9)],
    *[("gif.gif", seed) for seed in (1, 9)],
    *[("vp9.webm", seed) for seed in (5, 11)],
    *[("h264.flv", seed) for seed in (7, 30)],
]


def scrambled(path: Path, content: bytes, seed: int) -> Path:
    rng = np.random.default_rng([seed, 1])
    data = bytearray(content)
    count = int(rng.integers(1, 400))
    places, values = rng.integers(0, len(data), count), rng.integers(0, 256, count)
    for at, value in zip(places, values, strict=True):
        data[at] = int(value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("name", "seed"), SEEDS)
def test_a_scrambled_file_is_named(
    tmp_path: Path, kind: Callable[[str], Path], name: str, seed: int
):
    path = scrambled(tmp_path / name, kind(name).read_bytes(), seed)
    for read in (probe, read_clip):
        with suppress(DecodeError):
            read(path)
    report = check_video(path)
    assert not report.ok
    assert report.reason
    assert str(path) in report.message
    for row in read_windows(path, [Window(0, 1), Window(1, 2)], 2):
        assert isinstance(row, Clip | Failure)


def test_a_batch_goes_on_after_a_broken_file(tmp_path: Path, kind: Callable[[str], Path]):
    good = kind("h264-b-frames.mp4")
    bad = [
        scrambled(tmp_path / f"{seed}-{name}", kind(name).read_bytes(), seed)
        for name, seed in SEEDS
    ]
    requests = [ClipRequest(path) for path in (good, *bad, good)]
    rows = list(read_clips(requests))
    assert len(rows) == len(requests)
    assert [row.path for row in rows] == [request.path for request in requests]
    assert isinstance(rows[0], Clip)
    assert isinstance(rows[-1], Clip)


@pytest.mark.parametrize("error", [IndexError("x"), MemoryError(), OSError(5, "x"), TypeError("x")])
@pytest.mark.parametrize("where", ["demux", "decode"])
def test_an_exception_of_any_type(
    monkeypatch: pytest.MonkeyPatch, kind: Callable[[str], Path], error: Exception, where: str
):
    from vlar.media.video.container import OpenVideo

    def fail(*_: object) -> None:
        raise error

    path = kind("h264-b-frames.mp4")
    monkeypatch.setattr(OpenVideo, "packets" if where == "demux" else "decode", fail)
    with pytest.raises(DecodeError, match=r"h264-b-frames\.mp4"):
        read_clip(path)
    (failure,) = read_windows(path, [Window(0, 1)])
    assert isinstance(failure, Failure)
    report = check_video(path)
    assert not report.ok
    assert report.lost == 1


def test_a_picture_that_breaks_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = videos.make_frame_folder(tmp_path / "clip", 4)

    def fail(*_: object, **__: object) -> None:
        raise IndexError("index out of range")

    first = Image.open
    monkeypatch.setattr(
        Image, "open", lambda path, **k: fail() if path.name == "2.jpg" else first(path, **k)
    )
    assert read_clip(folder, None, 4).lost == 1 / 4
    report = check_video(folder)
    assert (report.kind, report.n_frames) == ("damaged", 3)
    assert report.reason == "2.jpg: index out of range"
    assert report.first_bad_s == pytest.approx(1 / 25)

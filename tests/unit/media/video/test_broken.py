"""Broken input: a plain error that names the file, or the readable part with its losses told."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests import videos
from vlar.errors import DecodeError, DecodeTimeout, UsageError
from vlar.media.integrity.check import check_video
from vlar.media.video.decode import read_clip, read_windows
from vlar.media.video.files import content_hash
from vlar.media.video.source import probe
from vlar.types import Failure, Window

FAST_START = {"movflags": "faststart"}


def noisy(number: int) -> np.ndarray:
    return videos.noise(number) // 8 + videos.barcode(number) // 8 * 7


def not_videos() -> dict[str, tuple[Callable[[Path], Path], str]]:
    def text(path: Path) -> Path:
        path.write_text("this is no video\n" * 50)
        return path

    def playlist(path: Path) -> Path:
        other = videos.make_video(path.with_name("other.ts"), 5)
        path.write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{other}\n#EXT-X-ENDLIST\n")
        return path

    def folder(path: Path) -> Path:
        path.mkdir()
        (path / "notes.txt").write_text("x")
        return path

    def pipe(path: Path) -> Path:
        os.mkfifo(path)
        return path

    def empty(path: Path) -> Path:
        path.touch()
        return path

    return {
        "missing.mp4": (lambda path: path, "no such file"),
        "long-" + "x" * 300: (lambda path: path, "cannot be reached"),
        "empty.mp4": (empty, "empty"),
        "text.mp4": (text, "not a readable video"),
        "list.mp4": (playlist, "not a readable video"),
        "folder": (folder, "without numbered"),
        "pipe.mp4": (pipe, "not a regular file"),
        "header-lost.mp4": (lambda p: videos.truncate(videos.make_video(p), 0.5), "0.0 s"),
        "header-only.mp4": (
            lambda p: videos.truncate(videos.make_video(p, container_options=FAST_START), 0.13),
            "readable",
        ),
        "sound.wav": (lambda p: videos.make_audio(p, "pcm_s16le"), "audio only"),
        "sound.mp3": (lambda p: videos.make_audio(p, "libmp3lame"), "audio only"),
        "sound.mp4": (lambda p: videos.make_audio(p, "aac"), "audio only"),
    }


@pytest.mark.parametrize("name", not_videos())
def test_what_is_no_video_is_named(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    make, expected = not_videos()[name]
    path = make(tmp_path / name)
    with pytest.raises(DecodeError) as error:
        read_clip(path)
    assert str(path) in error.value.message
    assert expected in error.value.message
    assert "\n" not in error.value.message
    failures = list(read_windows(path, [Window(0, 1), Window(1, 2)]))
    assert [f.kind for f in failures if isinstance(f, Failure)] == ["decode", "decode"]
    report = check_video(path)
    assert not report.ok
    assert report.to_dict()["kind"] == "decode"
    assert capfd.readouterr() == ("", "")


def test_devices_are_refused():
    for path in ("/dev/zero", "/dev/null"):
        with pytest.raises(DecodeError, match="not a regular file"):
            probe(path)
        with pytest.raises(DecodeError, match="not a regular file"):
            content_hash(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path):
    path = videos.make_video(tmp_path / "a.mp4", 5)
    path.chmod(0)
    with pytest.raises(DecodeError, match="permission"):
        read_clip(path)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("cut.mp4", "libx264", FAST_START),
        ("cut.mkv", "libx264", {}),
        ("cut.webm", "libvpx-vp9", {}),
    ],
)
def test_truncated(tmp_path: Path, name: str, codec: str, options: dict[str, str]):
    def make(share: float) -> Path:
        path = tmp_path / name
        videos.make_video(path, 250, codec=codec, container_options=options, picture=noisy)
        return videos.truncate(path, share)

    path = make(0.7)
    assert probe(path).duration_s == pytest.approx(10.0, abs=0.1)
    intact = read_clip(path, Window(1.0, 5.0), 8)
    assert intact.lost == 0
    assert [videos.read_barcode(f) for f in intact.data] == [31, 43, 56, 68, 81, 93, 106, 118]
    whole = read_clip(path, None, 10)
    assert 0.2 <= whole.lost <= 0.4
    good = 10 - round(whole.lost * 10)
    assert [videos.read_barcode(f) for f in whole.data][:good] == [
        int(25 * (i + 0.5)) for i in range(good)
    ]
    report = check_video(path)
    assert not report.ok
    assert report.kind == "damaged"
    assert 0.2 < report.lost < 0.45
    with pytest.raises(DecodeError, match=r"[23]\.\d s of 10\.0 s"):
        read_clip(make(0.3))


def test_windows_of_a_truncated_file_fail_one_by_one(tmp_path: Path):
    path = tmp_path / "cut.mp4"
    videos.make_video(path, 250, container_options=FAST_START, picture=noisy)
    videos.truncate(path, 0.5)
    found = list(read_windows(path, [Window(i, i + 1) for i in range(10)], 4))
    failed = [isinstance(clip, Failure) for clip in found]
    assert failed == sorted(failed)
    assert failed[:4] == [False] * 4
    assert failed[-3:] == [True] * 3


@pytest.mark.parametrize("ending", [".mp4", ".ts", ".mkv"])
def test_damaged_bytes_cost_frames_and_nothing_more(tmp_path: Path, ending: str):
    path = videos.make_video(tmp_path / f"a{ending}", 250, gop=10, picture=noisy)
    videos.corrupt(path, start=0.4, end=0.5, every=500)
    clip = read_clip(path, Window(0.0, 10.0), 50)
    assert 0 < clip.lost <= 0.3
    wrong = sum(
        abs(videos.read_barcode(frame) - int(25 * 10 * (i + 0.5) / 50 + 1e-6)) > 1
        for i, frame in enumerate(clip.data)
    )
    assert wrong <= round(clip.lost * 50) + 2
    assert not check_video(path).ok


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_random_damage_never_escapes_as_another_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    ending = data.draw(st.sampled_from([".mp4", ".ts", ".mkv", ".avi", ".webm", ".gif"]))
    codec = {".avi": "mpeg4", ".webm": "libvpx-vp9", ".gif": "gif"}.get(ending, "libx264")
    path = tmp_path_factory.getbasetemp() / f"damaged{ending}"
    pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
    videos.make_video(path, 20, codec=codec, pix_fmt=pix_fmt, size=(48, 32))
    content = bytearray(path.read_bytes())
    for at, byte in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=20)
    ):
        content[at] = byte
    path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    for read in (lambda: read_clip(path, timeout_s=10), lambda: probe(path, timeout_s=10)):
        with suppress(DecodeError):
            read()
    check_video(path, timeout_s=10)


def test_a_stream_that_begins_inside_a_group_of_pictures(tmp_path: Path):
    path = videos.make_video(tmp_path / "a.ts", 250, gop=50, picture=noisy)
    videos.cut_transport_stream(path, 0.5)
    times_s, frames = videos.decode_all(path)
    clip = read_clip(path, Window(0.0, float(times_s[-1])), 6)
    shown = [
        frames[int(np.searchsorted(times_s, t + 1e-6, side="right")) - 1] for t in clip.times_s
    ]
    numbers = [videos.read_barcode(f.to_ndarray(format="rgb24")) for f in shown]
    assert [videos.read_barcode(frame) for frame in clip.data] == numbers


def test_timeout(kind: Callable[[str], Path]):
    path = kind("h264-b-frames.mp4")
    start = time.monotonic()
    with pytest.raises(DecodeTimeout, match="within"):
        read_clip(path, timeout_s=1e-6)
    assert time.monotonic() - start < 1
    (failure,) = read_windows(path, [Window(0, 1)], timeout_s=1e-6)
    assert isinstance(failure, Failure)
    assert failure.kind == "timeout"


def test_a_window_past_the_end(kind: Callable[[str], Path]):
    path = kind("h264-b-frames.mp4")
    with pytest.raises(DecodeError, match="past the end"):
        read_clip(path, Window(5, 6))
    clip = read_clip(path, Window(2, 6), 4)
    assert clip.lost == 0
    assert videos.read_barcode(clip.data[-1]) == 59


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_frames": 0},
        {"timeout_s": 0},
        {"shorter_side": 0},
        {"fps": 0.0},
        {"window": Window(2, 1)},
    ],
)
def test_wrong_arguments(kind: Callable[[str], Path], arguments: dict):
    with pytest.raises(UsageError):
        read_clip(kind("h264-b-frames.mp4"), **arguments)


def test_no_window_no_clip(kind: Callable[[str], Path]):
    assert list(read_windows(kind("h264-b-frames.mp4"), [])) == []


def test_an_animated_webp_is_named_and_not_called_damaged(tmp_path: Path):
    pictures = [Image.new("RGB", (32, 32), (40 * n, 0, 0)) for n in range(4)]
    path = tmp_path / "a.webp"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    with pytest.raises(DecodeError, match="an animated WebP, which is not read; convert it"):
        read_clip(path)
    pictures[0].save(tmp_path / "still.webp")
    assert read_clip(tmp_path / "still.webp", n_frames=1).lost == 0

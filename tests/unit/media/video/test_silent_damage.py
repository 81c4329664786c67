"""Damage that the decoder does not report as an error: left over bits, zeros, gaps in time."""

from __future__ import annotations

import time
from pathlib import Path

import av
import numpy as np
import pytest
from av import Packet

from tests import videos
from vlar.media.integrity.check import check_video
from vlar.media.integrity.payload import has_zeroed_span
from vlar.media.integrity.picture_order import holes, is_odd_gap
from vlar.media.video.decode import read_clip, read_windows
from vlar.types import Clip, Window

FPS = 25


def without(path: Path, numbers: range) -> Path:
    """A copy without some packets; the others keep their times."""
    target = path.with_name(f"dropped-{path.name}")
    with av.open(str(path)) as source, av.open(str(target), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.size and number not in numbers:
                packet.stream = stream
                sink.mux(packet)
    return target


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vp8.webm", {"codec": "libvpx"}),
        ("vp9.webm", {"codec": "libvpx-vp9"}),
        ("mjpeg.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("mpeg4.mp4", {"codec": "mpeg4", "b_frames": 0}),
    ],
)
def test_frames_in_a_hole_are_lost(tmp_path: Path, name: str, settings: dict):
    whole = videos.make_video(tmp_path / name, 60, **settings)
    path = without(whole, range(30, 34))
    assert not check_video(path).ok
    spans = [Window(at / FPS, at / FPS) for at in (10.5, 32.5)]
    before, inside = read_windows(path, spans, 1)
    assert isinstance(before, Clip)
    assert before.lost == 0
    assert not isinstance(inside, Clip)
    assert check_video(whole).ok
    assert read_clip(whole, None, 32).lost == 0


@pytest.mark.parametrize("codec", ["libvpx", "mpeg4"])
def test_uneven_times_are_not_holes(tmp_path: Path, codec: str):
    rng = np.random.default_rng(0)
    times_s = np.cumsum(rng.choice([0.03, 0.04, 0.05, 0.2], 60))
    ending = "webm" if codec == "libvpx" else "mp4"
    path = videos.make_video(
        tmp_path / f"vfr.{ending}",
        60,
        codec=codec,
        b_frames=0,
        times_s=(times_s - times_s[0]).tolist(),
    )
    assert check_video(path).ok
    assert read_clip(path, None, 32).lost == 0


def test_holes_of_time_stamps():
    even = list(range(0, 6000, 100))
    assert holes(even) == ()
    assert holes([t for t in even if t not in (3000, 3100)]) == (2900,)
    assert holes(list(reversed([t for t in even if t != 3000]))) == (2900,)
    every_fifth = [t for t in even if t % 500]
    assert holes(every_fifth) == (), "frames that are left out all the time are no damage"
    assert holes([*even, 6050 + 90 * 100]) == (), "a gap that is not a whole number of frames"
    assert holes([*even, 5900 + 100 * 100]) == (), "a picture that stands long"
    assert holes(even[:10]) == ()
    milliseconds = [round(n * 1000 / 30) for n in range(60) if n != 20]
    assert holes(milliseconds) == (633,)


def test_an_odd_gap():
    times = [t for t in range(0, 6000, 100) if t != 3000]
    assert is_odd_gap(times, times.index(2900))
    assert not is_odd_gap(times, times.index(2800))
    assert not is_odd_gap(times, len(times) - 1)
    pairs = [t for t in range(0, 6000, 100) if t // 100 % 4 < 2]
    assert not is_odd_gap(pairs, 21)


@pytest.mark.parametrize("name", ["h264.mp4", "h264.ts", "mpeg2.mpg"])
def test_zeros_within_a_picture_are_damage(tmp_path: Path, name: str):
    codec = "mpeg2video" if name.startswith("mpeg2") else "libx264"
    path = videos.make_noise_video(tmp_path / name, 40, codec=codec)
    data = bytearray(path.read_bytes())
    at = len(data) // 2
    data[at : at + 60] = bytes(60)
    path.write_bytes(bytes(data))
    assert not check_video(path).ok


@pytest.mark.parametrize("after", [b"", b"\x07"])
def test_a_long_run_of_zeros_is_looked_at_in_linear_time(after: bytes):
    data = b"\0\0\x01\x65" + bytes(4_000_000) + after
    start = time.process_time()
    assert has_zeroed_span(Packet(data), "h264") is bool(after)
    assert time.process_time() - start < 2


def test_zeros_end_a_packet_only_between_start_codes():
    picture = b"\x65" + bytes(range(1, 60)) + bytes(20)
    assert not has_zeroed_span(Packet(b"\0\0\0\x01" + picture), "h264")
    assert has_zeroed_span(Packet(len(picture).to_bytes(4, "big") + picture), "h264")
    assert not has_zeroed_span(Packet(len(picture).to_bytes(4, "big") + picture), "mpeg4")


@pytest.mark.parametrize("first", [29, 32, 35])
def test_a_gap_next_to_damage_is_lost(tmp_path: Path, first: int):
    """H.264 numbers its frames, so FFmpeg reports what is missing, but only some packets later."""
    whole = videos.make_video(tmp_path / "h264.mp4", 60)
    path = without(whole, range(first, first + 3))
    assert not check_video(path).ok
    spans = [Window(at / FPS, at / FPS) for at in np.arange(0.5, 60.0)]
    for number, clip in enumerate(read_windows(path, spans, 1)):
        if isinstance(clip, Clip) and abs(videos.read_barcode(clip.data[0]) - number) > 1:
            assert clip.lost, number


def test_bits_left_over_in_a_slice_are_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """FFmpeg by itself reports fewer flipped bits than it notices when it is asked to look."""

    def picture(number: int) -> np.ndarray:
        return videos.noise(number) // 8 + videos.barcode(number) // 8 * 7

    whole = videos.make_video(tmp_path / "whole.mp4", 40, picture=picture)
    clean = whole.read_bytes()
    start = clean.index(b"mdat") + 4000

    def found() -> int:
        return sum(not check_video(path).ok for path in sorted(tmp_path.glob("flipped-*")))

    for seed in range(12):
        data = bytearray(clean)
        at = int(np.random.default_rng(seed).integers(start, len(data) - 4000))
        data[at] ^= 4
        (tmp_path / f"flipped-{seed}.mp4").write_bytes(bytes(data))
    ours = found()
    monkeypatch.setattr("vlar.media.video.container._ERROR_CHECKS", {})
    assert ours > found()
    assert check_video(whole).ok

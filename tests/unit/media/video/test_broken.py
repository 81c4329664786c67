"""Broken input: a plain error that names the file, or the readable part."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests import videos
from tests.refusals import refused
from vlar.errors import DecodeError, DecodeTimeout, UsageError
from vlar.media.video.container import Deadline, OpenVideo, opened
from vlar.media.video.decode import ClipRequest, read_clip, read_clips, read_windows
from vlar.media.video.files import content_hash
from vlar.media.video.sequential import SequentialReader
from vlar.media.video.source import probe
from vlar.plugins.integrity.check import check_video
from vlar.types import Clip, Failure, Window

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
        "long-" + "x" * 300: (lambda path: path, ""),
        "empty.mp4": (empty, "empty"),
        "text.mp4": (text, "copy or re-encode it"),
        "text.csv": (text, "no video ends in .csv: give a video, or read the file by the model of"),
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
    error = refused(DecodeError, "", read_clip, path)
    assert str(tmp_path) in error.value.message
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
        refused(DecodeError, "not a regular file", probe, path)
        refused(DecodeError, "not a regular file", content_hash, path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path):
    path = videos.make_video(tmp_path / "a.mp4", 5)
    path.chmod(0)
    refused(DecodeError, "permission", read_clip, path)


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
    refused(DecodeError, r"[23]\.\d s of 10\.0 s", read_clip, make(0.3))


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
    # Shares, not places: the same pictures make files of other lengths now and then.
    share = st.floats(0, 1, exclude_max=True)
    for at, byte in data.draw(st.lists(st.tuples(share, st.integers(0, 255)), max_size=20)):
        content[int(at * len(content))] = byte
    path.write_bytes(bytes(content[: 1 + int(data.draw(share) * len(content))]))
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
    refused(DecodeTimeout, "within", read_clip, path, timeout_s=1e-6)
    assert time.monotonic() - start < 1
    (failure,) = read_windows(path, [Window(0, 1)], timeout_s=1e-6)
    assert isinstance(failure, Failure)
    assert failure.kind == "timeout"


def test_a_window_past_the_end(kind: Callable[[str], Path]):
    path = kind("h264-b-frames.mp4")
    refused(DecodeError, "past the end", read_clip, path, Window(5, 6))
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
    refused(UsageError, "", read_clip, kind("h264-b-frames.mp4"), **arguments)


def test_no_window_no_clip(kind: Callable[[str], Path]):
    assert list(read_windows(kind("h264-b-frames.mp4"), [])) == []


def test_an_animated_webp_is_named_and_not_called_damaged(tmp_path: Path):
    pictures = [Image.new("RGB", (32, 32), (40 * n, 0, 0)) for n in range(4)]
    path = tmp_path / "a.webp"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    refused(DecodeError, "an animated WebP, which is not read; convert it", read_clip, path)
    pictures[0].save(tmp_path / "still.webp")
    assert read_clip(tmp_path / "still.webp", n_frames=1).lost == 0


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
    def fail(*_: object) -> None:
        raise error

    path = kind("h264-b-frames.mp4")
    monkeypatch.setattr(OpenVideo, "packets" if where == "demux" else "decode", fail)
    refused(DecodeError, r"h264-b-frames\.mp4", read_clip, path)
    (failure,) = read_windows(path, [Window(0, 1)])
    assert isinstance(failure, Failure)
    report = check_video(path)
    assert not report.ok
    assert report.lost == 1


@pytest.mark.parametrize("where", ["packets", "decode"])
def test_a_full_memory_is_not_a_damaged_stretch(
    monkeypatch: pytest.MonkeyPatch, kind: Callable[[str], Path], where: str
):
    """What was read before is not shown as if the rest of the file were broken."""
    path = kind("h264-b-frames.mp4")
    packets, decode, calls = OpenVideo.packets, OpenVideo.decode, count()

    def three_packets(video: OpenVideo) -> Iterator[Any]:
        yield from islice(packets(video), 3)
        raise MemoryError

    def three_frames(video: OpenVideo, packet: Any) -> list[Any]:
        if next(calls) == 3:
            raise MemoryError
        return decode(video, packet)

    full = three_packets if where == "packets" else three_frames
    with opened(path, 9) as video:
        reader = SequentialReader(video, Deadline(path, 9), False, ())
        monkeypatch.setattr(OpenVideo, where, full)
        refused(MemoryError, "", list, reader.frames())


@pytest.mark.parametrize(("packet_bytes", "kept"), [(188, 0), (188, 90), (204, 0)])
def test_a_transport_stream_that_ends_inside_a_packet_is_cut_short(
    kind: Callable[[str], Path], tmp_path: Path, packet_bytes: int, kept: int
):
    """Packets have 188 bytes, or 204 where 16 bytes of correction follow each."""
    data = kind("mpeg2.ts").read_bytes()
    rows = (data[at : at + 188].ljust(packet_bytes, b"\xff") for at in range(0, len(data), 188))
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(rows) + data[:kept])
    with opened(path, 9) as video:
        assert video.is_cut_short == bool(kept)


def test_a_decoder_that_takes_no_packet_is_emptied(kind: Callable[[str], Path]):
    class Stuck:
        """A decoder that takes its fourth packet only after it was emptied."""

        def __init__(self, decoder: Any) -> None:
            self._decoder, self.calls, self.flushed = decoder, count(), 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._decoder, name)

        def decode(self, packet: Any) -> Any:
            if next(self.calls) == 3:
                raise BlockingIOError
            return self._decoder.decode(packet)

        def flush_buffers(self) -> None:
            self.flushed += 1
            self._decoder.flush_buffers()

    path = kind("h264-b-frames.mp4")
    with opened(path, 9) as video:
        stuck = Stuck(video.decoder)
        reader = SequentialReader(replace(video, decoder=stuck), Deadline(path, 9))
        assert list(reader.frames())
    assert (stuck.flushed, reader.damage > 0) == (1, True)


def test_a_picture_that_breaks_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = videos.make_frame_folder(tmp_path / "clip", 4)

    def fail(*_: object, **__: object) -> None:
        raise IndexError("index out of range")

    def is_second(file: Any) -> bool:
        data = file.read()
        file.seek(0)
        return data == (folder / "2.jpg").read_bytes()

    first = Image.open
    monkeypatch.setattr(
        Image, "open", lambda file, **k: fail() if is_second(file) else first(file, **k)
    )
    assert read_clip(folder, None, 4).lost == 1 / 4
    report = check_video(folder)
    assert (report.kind, report.n_frames) == ("damaged", 3)
    assert report.reason == "2.jpg: index out of range"
    assert report.first_bad_s == pytest.approx(1 / 25)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".JPEG"])
def test_frames_by_number_and_time(tmp_path: Path, ending: str):
    folder = videos.make_frame_folder(tmp_path / "clip", 12, ending=ending)
    (folder / "label.txt").write_text("jump")
    (folder / "thumbnail.jpg").write_bytes(b"not numbered")
    info = probe(folder, fps=4)
    assert (info.width, info.height, info.n_frames, info.codec) == (96, 64, 12, "frames")
    assert (info.duration_s, info.fps) == (3.0, 4)
    clip = read_clip(folder, None, 12, fps=4)
    assert [videos.read_barcode(frame) for frame in clip.data] == list(range(12))
    np.testing.assert_allclose(clip.times_s, np.arange(12) / 4)
    part = read_clip(folder, Window(1.0, 2.0), 2, fps=4)
    assert [videos.read_barcode(frame) for frame in part.data] == [5, 7]
    assert read_clip(folder).window.end_s == pytest.approx(12 / 25)
    assert check_video(folder).ok


def test_windows_of_a_folder(tmp_path: Path):
    folder = videos.make_frame_folder(tmp_path / "clip", 12)
    clips = list(read_windows(folder, [Window(0, 2), Window(1, 3)], 4, fps=4))
    numbers = [[videos.read_barcode(f) for f in clip.data] for clip in clips]
    assert numbers == [[1, 3, 5, 7], [5, 7, 9, 11]]


def test_sizes_that_differ_take_the_first(tmp_path: Path):
    folder = videos.make_frame_folder(tmp_path / "clip", 3)
    Image.fromarray(videos.barcode(1, 200, 100)).save(folder / "2.jpg")
    clip = read_clip(folder, None, 3)
    assert clip.data.shape == (3, 64, 96, 3)
    assert [videos.read_barcode(frame) for frame in clip.data] == [0, 1, 2]


def test_orientation_and_grey_and_alpha(tmp_path: Path):
    folder = tmp_path / "clip"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(videos.barcode(77), 1)))
    stored.save(folder / "1.jpg", exif=exif, quality=95)
    Image.fromarray(videos.barcode(78)).convert("L").save(folder / "2.png")
    Image.fromarray(videos.barcode(79)).convert("RGBA").save(folder / "3.png")
    clip = read_clip(folder, None, 3)
    assert [videos.read_barcode(frame) for frame in clip.data] == [77, 78, 79]
    assert probe(folder).width == 96


def test_broken_pictures_are_lost_and_replaced(tmp_path: Path):
    folder = videos.make_frame_folder(tmp_path / "clip", 8)
    (folder / "1.jpg").write_bytes(b"")
    (folder / "5.jpg").write_bytes((folder / "5.jpg").read_bytes()[:200])
    clip = read_clip(folder, None, 8)
    assert clip.lost == 2 / 8
    assert [videos.read_barcode(frame) for frame in clip.data] == [1, 1, 2, 3, 3, 5, 6, 7]
    report = check_video(folder)
    assert (report.ok, report.kind, report.lost, report.n_frames) == (False, "damaged", 0.25, 6)
    for number in range(1, 6):
        (folder / f"{number}.jpg").write_bytes(b"x")
    refused(DecodeError, "5 of 8", read_clip, folder, None, 8)
    for number in range(1, 9):
        (folder / f"{number}.jpg").write_bytes(b"x")
    refused(DecodeError, "none of its 8 pictures", read_clip, folder, None, 8)


def test_shrinks_big_pictures(tmp_path: Path):
    folder = videos.make_frame_folder(tmp_path / "clip", 2, size=(960, 640))
    clip = read_clip(folder, None, 2, shorter_side=100)
    assert clip.data.shape == (2, 100, 150, 3)
    assert [videos.read_barcode(frame) for frame in clip.data] == [0, 1]


@pytest.mark.parametrize("every", [97, 3])
def test_a_check_and_a_reading_state_one_figure_of_loss(tmp_path: Path, every: int):
    """A picture and its packet may both be reported; the time of both counts once."""
    path = videos.corrupt(videos.make_video(tmp_path / "v.mp4", 250), every=every)
    report = check_video(path)
    (clip,) = read_windows(path, [Window(0.0, report.duration_s)], 64)
    assert isinstance(clip, Clip)
    assert report.lost == pytest.approx(clip.lost, abs=0.05)
    assert 0.2 < report.lost < 0.8
    assert f"{1 - report.lost:.1%} of 10.0 s can be read" in report.message

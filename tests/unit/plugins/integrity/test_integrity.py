"""Damage of video files: concealed, silent or unseen by any decoder; intact files have none."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from benchmarks.damaged_videos import MUTATIONS, SOURCES, WANTED_S, Intact
from tests import videos
from vlar.media.integrity.payload import pictures_of
from vlar.media.integrity.picture_order import extent, holes, is_odd_gap
from vlar.media.video.container import opened
from vlar.media.video.decode import read_clip, read_windows
from vlar.media.video.source import probe
from vlar.plugins.integrity.check import check_video
from vlar.plugins.integrity.clusters import ClusterSums
from vlar.plugins.integrity.h264 import forgets, lost_pictures
from vlar.types import Clip, Window

SPANS = [Window(float(wanted), float(wanted)) for wanted in WANTED_S]


@pytest.fixture(scope="session")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Intact]:
    folder = tmp_path_factory.mktemp("intact")
    made: dict[str, Intact] = {}

    def get(name: str) -> Intact:
        if name not in made:
            made[name] = Intact.made(folder / name, SOURCES[name])
        return made[name]

    return get


def silent(intact: Intact, path: Path) -> tuple[int, int]:
    """Frames that are wrong, and those of them that came with lost = 0."""
    wrong = handed_on = 0
    for index, row in enumerate(read_windows(path, SPANS[: len(intact.shown)], 1)):
        is_right = isinstance(row, Clip) and not intact.is_wrong(index, row.data[0])
        wrong += not is_right
        handed_on += isinstance(row, Clip) and not is_right and row.lost == 0
    return wrong, handed_on


@pytest.mark.parametrize("name", SOURCES)
def test_most_wrong_frames_are_called_lost(
    tmp_path: Path, intact: Callable[[str], Intact], name: str
):
    source = intact(name)
    wrong = handed_on = 0
    for number in range(2 * len(MUTATIONS)):
        mutate = MUTATIONS[number % len(MUTATIONS)]
        rng = np.random.default_rng([number, 11])
        path = tmp_path / f"damaged-{source.path.name}"
        path.write_bytes(mutate(bytearray(source.path.read_bytes()), rng, source.path))
        result = silent(source, path)
        wrong, handed_on = wrong + result[0], handed_on + result[1]
    assert wrong > 0
    # VP8 has no redundancy that would show damage.
    assert handed_on <= (0.75 if name.startswith("vp8") else 0.15) * wrong + 2


@pytest.mark.parametrize("name", SOURCES)
def test_no_false_alarm(intact: Callable[[str], Intact], name: str):
    source = intact(name)
    assert silent(source, source.path) == (0, 0)
    report = check_video(source.path)
    assert (report.ok, report.lost, report.reason, report.first_bad_s) == (True, 0, "", None)
    for n_frames in (1, 7, 30):
        assert read_clip(source.path, None, n_frames).lost == 0


def test_damage_in_a_frame_that_the_wanted_one_refers_to(tmp_path: Path):
    """Only the last frame of a group is wanted; the damage is in the middle of the group."""
    path = videos.make_video(tmp_path / "a.mp4", 60, gop=60, b_frames=0, picture=noisy)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        place, size = packets[30].pos, packets[30].size
    data = bytearray(path.read_bytes())
    for at in range(place + 20, place + size, 7):
        data[at] ^= 0x55
    path.write_bytes(data)
    clip = read_windows(path, [Window(1.0, 1.0), Window(2.3, 2.3)], 1)
    before, after = list(clip)
    assert isinstance(before, Clip)
    assert before.lost == 0
    assert not isinstance(after, Clip)
    report = check_video(path)
    assert report.lost == pytest.approx(0.5, abs=0.1)
    assert report.first_bad_s == pytest.approx(30 / 25, abs=0.25)


def test_an_end_that_is_missing_from_a_transport_stream(tmp_path: Path):
    path = videos.make_video(tmp_path / "a.ts", 60, codec="libx265", picture=noisy)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3 // 188 * 188 + 100])
    report = check_video(path)
    assert not report.ok
    assert report.first_bad_s is not None
    assert report.first_bad_s > report.duration_s - 0.4


@pytest.mark.parametrize("name", ["gif.gif", "h264.ts", "h264.mp4"])
def test_a_window_past_the_end_of_any_kind(intact: Callable[[str], Intact], name: str):
    rows = list(read_windows(intact(name).path, [Window(1, 2), Window(5, 6)], 2))
    assert isinstance(rows[0], Clip)
    assert not isinstance(rows[1], Clip)
    assert "past the end" in rows[1].message


def test_the_first_frame_is_lost_and_times_stay(tmp_path: Path):
    path = videos.make_video(tmp_path / "a.mov", 30, codec="mjpeg", pix_fmt="yuvj420p")
    with av.open(str(path)) as container:
        first = next(container.demux(container.streams.video[0]))
    data = bytearray(path.read_bytes())
    data[first.pos : first.pos + first.size] = bytes(first.size)
    path.write_bytes(data)
    clip = read_windows(path, [Window(t / 25 + 0.02, t / 25 + 0.02) for t in (5, 20)], 1)
    numbers = [videos.read_barcode(row.data[0]) for row in clip if isinstance(row, Clip)]
    assert numbers == [5, 20]


def test_the_log_of_other_code_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    good = videos.make_video(tmp_path / "a.mp4", 20)
    assert av.logging.get_level() is None
    read_clip(good)
    assert av.logging.get_level() is None
    assert av.logging.get_skip_repeated()
    bad = videos.corrupt(videos.make_video(tmp_path / "b.ts", 60, picture=noisy), every=150)
    check_video(bad)
    assert not caplog.records
    av.logging.set_level(av.logging.ERROR)
    try:
        with caplog.at_level(logging.ERROR, logger="libav"):
            assert not check_video(bad).ok
        assert any(record.name.startswith("libav.") for record in caplog.records)
        assert av.logging.get_level() == av.logging.ERROR
    finally:
        av.logging.set_level(None)


def test_threads_do_not_blame_each_other(tmp_path: Path):
    good = videos.make_video(tmp_path / "a.mp4", 120, picture=noisy)
    bad = videos.corrupt(videos.make_video(tmp_path / "b.ts", 120, picture=noisy), every=150)
    reports: dict[Path, list[bool]] = {good: [], bad: []}

    def work(path: Path) -> None:
        for _ in range(5):
            reports[path].append(check_video(path).ok)

    threads = [threading.Thread(target=work, args=(path,)) for path in (good, bad, good, bad)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(reports[good]) == {True}
    assert set(reports[bad]) == {False}


def test_check_tells_reason_share_place_and_cost(tmp_path: Path):
    path = videos.make_video(tmp_path / "a.ts", 250, gop=10, picture=noisy)
    videos.corrupt(path, start=0.4, end=0.5, every=500)
    report = check_video(path)
    row = report.to_dict()
    assert row["kind"] == "damaged"
    assert row["reason"]
    assert row["readable"] == pytest.approx(1 - row["lost"], abs=1e-3)
    assert 0.05 < row["lost"] < 0.3
    assert 3.0 < row["first_bad_s"] < 5.0
    assert row["reencode_loses_s"] == pytest.approx(row["lost"] * probe(path).duration_s, abs=0.2)
    assert f"first at {report.first_bad_s:.1f} s" in report.message


def noisy(number: int) -> np.ndarray:
    return videos.noise(number) // 8 + videos.barcode(number) // 8 * 7


@pytest.mark.parametrize(
    ("name", "codec", "named"),
    [
        ("a.mp4", "libx264", ""), ("a.avi", "mpeg4", "mpeg4"), ("a.webm", "libvpx-vp9", ""),
        ("a.mkv", "mpeg4", ""), ("b.avi", "mjpeg", "mjpeg"),
    ],
)  # fmt: skip
def test_a_codec_that_cannot_be_verified_is_named(
    name: str, codec: str, named: str, tmp_path: Path
):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = videos.make_video(tmp_path / name, 12, codec=codec, b_frames=0, pix_fmt=pix_fmt)
    report = check_video(path)
    assert report.ok
    assert report.cannot_verify == named
    assert report.to_dict()["cannot_verify"] == named
    assert ("cannot be verified" in report.message) == bool(named)
    assert named in report.message


def test_words_of_the_decoder_come_after_their_meaning(tmp_path: Path):
    path = videos.make_video(tmp_path / "a.ts", 100, gop=10, picture=noisy)
    videos.corrupt(path, start=0.4, end=0.5, every=500)
    reason = check_video(path).reason
    assert reason.startswith(("a part of", "parts of", "a picture", "data is", "data ends"))
    assert reason.endswith(")")


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


MEDIUM = {"preset": "medium"}


def flipped(path: Path, at: int, bit: int = 3) -> Path:
    """A copy with one bit of one byte flipped."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    target = path.with_name(f"flipped-{at}-{path.name}")
    target.write_bytes(data)
    return target


def stamps(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [p.pts for p in container.demux(video=0) if p.size and p.pts is not None]


@pytest.fixture(scope="module")
def matroska(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sums") / "whole.mkv"
    return videos.make_video(path, 60, picture=lambda n: videos.noise(n), options=MEDIUM)


class TestChecksums:
    def test_a_whole_file_has_its_sums(self, matroska: Path):
        sums = ClusterSums(matroska)
        size = matroska.stat().st_size
        assert not any(sums.is_damaged(at) for at in range(0, size, 997))
        assert check_video(matroska).ok
        assert read_clip(matroska, None, 32).lost == 0

    def test_one_flipped_bit_loses_its_cluster_and_no_other(self, matroska: Path):
        with opened(matroska, 20.0) as video:
            places = {p.pts or 0: p.pos or 0 for p in video.packets()}
        at = places[sorted(places)[30]] + 200
        path = flipped(matroska, at)
        sums = ClusterSums(path)
        assert sums.is_damaged(at)
        bad = [sums.is_damaged(places[pts]) for pts in sorted(places)]
        assert 0 < sum(bad) < 30
        report = check_video(path)
        assert not report.ok
        assert 0.1 < report.lost < 0.6
        clips = list(read_windows(path, [Window(n / FPS, n / FPS) for n in (2.5, 30.5)], 1))
        assert isinstance(clips[0], Clip)
        assert clips[0].lost == 0
        assert not isinstance(clips[1], Clip)

    def test_places_may_be_asked_for_in_any_order(self, matroska: Path):
        path = flipped(matroska, matroska.stat().st_size // 2)
        places = range(0, path.stat().st_size, 1009)
        forward, backward = ClusterSums(path), ClusterSums(path)
        wanted = [forward.is_damaged(at) for at in places]
        assert any(wanted)
        assert [backward.is_damaged(at) for at in reversed(places)] == wanted[::-1]
        assert not forward.is_damaged(None)

    def test_the_cut_end_of_a_file_has_no_sum(self, matroska: Path):
        path = matroska.with_name("cut.mkv")
        path.write_bytes(matroska.read_bytes()[: matroska.stat().st_size * 3 // 4])
        sums = ClusterSums(path)
        assert not any(sums.is_damaged(at) for at in range(0, path.stat().st_size, 997))

    def test_what_is_not_matroska_has_no_sums(self, tmp_path: Path):
        for content in (b"", b"\0" * 40, b"\x1a\x45\xdf\xa3", b"\xff" * 9, b"\x1a\x45\xdf\xa3\x01"):
            path = tmp_path / "none.mkv"
            path.write_bytes(content)
            assert not ClusterSums(path).is_damaged(5)


class TestNumbers:
    """H.264 numbers its pictures."""

    @pytest.mark.parametrize(
        ("name", "settings"),
        [
            ("a.mp4", {"options": MEDIUM}),
            ("a.mkv", {"options": MEDIUM}),
            ("a.ts", {}),
            ("a.flv", {}),
            ("a.avi", {"b_frames": 0}),
            ("baseline.mp4", {"options": {"profile": "baseline"}, "b_frames": 0}),
        ],
    )
    def test_lost_pictures_are_found(self, tmp_path: Path, name: str, settings: dict[str, Any]):
        whole = videos.make_video(tmp_path / name, 60, **settings)
        path = without(whole, range(28, 31))
        with opened(path, 20.0) as video:
            assert extent(video).holes
        assert not check_video(path).ok
        inside = next(iter(read_windows(path, [Window(1.21, 1.21)], 1)))
        assert not isinstance(inside, Clip)
        with opened(whole, 20.0) as video:
            assert extent(video).holes == ()
        assert check_video(whole).ok

    def test_frames_that_were_never_coded_are_not_lost(self, tmp_path: Path):
        times_s = [n / FPS for n in range(62) if n not in (30, 31)]
        path = videos.make_video(tmp_path / "camera.mp4", 60, times_s=times_s)
        with opened(path, 20.0) as video:
            assert extent(video).holes == ()
        assert check_video(path).ok
        assert read_clip(path, None, 32).lost == 0

    def test_a_lost_picture_that_none_refers_to_costs_its_own_time(self, tmp_path: Path):
        flat = {"x264-params": "bframes=2:scenecut=0:b-pyramid=none:b-adapt=0"}
        whole = videos.make_video(tmp_path / "a.mp4", 60, options=flat)
        with av.open(str(whole)) as container:
            packets = [bytes(p) for p in container.demux(video=0) if p.size]
        numbers = [n for n, data in enumerate(packets) if not data[4] >> 5 & 3]  # nal_ref_idc
        at = next(n for n in numbers if n > 24 and n + 1 in numbers)
        path = without(whole, range(at, at + 2))
        (hole,) = lost_pictures(path, _before_gaps(path), False)
        assert not hole.referred
        assert 0.01 < check_video(path).lost < 0.06

    def test_an_idr_picture_forgets(self, tmp_path: Path):
        path = videos.make_video(tmp_path / "a.mp4", 24)
        with opened(path, 20.0) as video:
            extra = video.stream.codec_context.extradata or b""
            kinds = [(forgets(p, extra), p.is_keyframe) for p in video.packets()]
        assert all(idr == key for idr, key in kinds)
        assert sum(idr for idr, _ in kinds) == 2


def _before_gaps(path: Path) -> list[int]:
    shown = sorted(stamps(path))
    frame = min(b - a for a, b in pairwise(shown))
    return [a for a, b in pairwise(shown) if b - a > 1.5 * frame]


class TestSuperframes:
    @pytest.fixture(scope="class")
    def vp9(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("vp9") / "a.webm"
        return videos.make_video(path, 30, codec="libvpx-vp9", picture=lambda n: videos.noise(n))

    def test_parts_hold_the_whole_packet_but_for_the_index(self, vp9: Path):
        with opened(vp9, 20.0) as video:
            split = [(p, pictures_of(p)) for p in video.packets()]
        several = [(packet, parts) for packet, parts in split if len(parts) > 1]
        assert several, "this coder writes hidden pictures"
        for packet, parts in several:
            assert b"".join(map(bytes, parts)) == bytes(packet)[: sum(p.size for p in parts)]
            assert {(p.pts, p.time_base) for p in parts} == {(packet.pts, packet.time_base)}
        assert all(parts == [packet] for packet, parts in split if len(parts) == 1)

    @pytest.mark.parametrize(
        "content", [b"", b"\xc1", b"\xc9" * 3, b"abc\xc0\x03\xc0", b"\xdf" * 40]
    )
    def test_a_packet_without_a_right_index_stays_whole(self, content: bytes):
        packet: Any = av.Packet(content)
        assert pictures_of(packet) == [packet]

    def test_damage_within_a_superframe_is_noticed(self, vp9: Path):
        with opened(vp9, 20.0) as video:
            packet = next(p for p in video.packets() if len(pictures_of(p)) > 1)
            place, at = (packet.pos or 0) + packet.size // 3, packet.pts or 0
            time_s = at * float(video.stream.time_base or 0)
        assert check_video(vp9).ok
        report = check_video(flipped(vp9, place))
        assert not report.ok
        assert report.first_bad_s == pytest.approx(time_s, abs=0.3)

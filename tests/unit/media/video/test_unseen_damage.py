"""Damage that no decoder notices: checksums, numbers of pictures, data that is left over."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from tests import videos
from tests.unit.media.video.test_silent_damage import without
from vlar.media.integrity.check import check_video
from vlar.media.integrity.payload import ClusterSums, pictures_of
from vlar.media.integrity.picture_order import extent, forgets, lost_pictures
from vlar.media.video.container import opened
from vlar.media.video.decode import read_clip, read_windows
from vlar.types import Clip, Window

FPS = 25
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

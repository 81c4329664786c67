"""Damage that a decoder conceals is called lost; intact files never are."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.damaged_videos import MUTATIONS, SOURCES, WANTED_S, Intact
from tests import videos
from vlar.media.integrity.check import check_video
from vlar.media.video.decode import read_clip, read_windows
from vlar.media.video.source import probe
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


def test_words_of_the_decoder_come_after_their_meaning(tmp_path: Path):
    path = videos.make_video(tmp_path / "a.ts", 100, gop=10, picture=noisy)
    videos.corrupt(path, start=0.4, end=0.5, every=500)
    reason = check_video(path).reason
    assert reason.startswith(("a part of", "parts of", "a picture", "data is", "data ends"))
    assert reason.endswith(")")

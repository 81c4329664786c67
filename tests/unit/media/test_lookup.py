"""The reader of a path, and batches that go on where reading one crashes or hangs."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import vlar
from tests import videos
from tests.faults import FaultyReader
from tests.refusals import refused
from tests.unit.library.fakes import tiny_video
from vlar.errors import DecodeError, UnknownNameError
from vlar.media.base import Reader
from vlar.media.lookup import IsolatedReader, find, isolated, reader, reader_for
from vlar.media.skeleton import export
from vlar.media.skeleton.formats.base import Bodies
from vlar.media.views import ViewSampler
from vlar.types import Clip, Failure, Sampling, Window


def test_a_clip_of_any_sensor(tmp_path: Path) -> None:
    clip = vlar.read_clip(videos.make_video(tmp_path / "a.mp4", 8, fps=4), n_frames=3)
    assert (clip.modality, clip.data.shape) == ("video", (3, 64, 96, 3))
    with pytest.raises(UnknownNameError, match="did you mean 'video'"):
        vlar.read_clip(tmp_path / "a.mp4", modality="vidoe")


def test_an_unknown_path_goes_to_the_video_reader(tmp_path: Path) -> None:
    assert reader_for(tmp_path / "clip.unknown") is reader("video")
    assert find([tmp_path]) == []


def test_what_is_not_a_file():
    for given, said in [
        ("https://a.org/clip.mp4", "https://a.org/clip.mp4: vlar reads files, not addresses"),
        ("rtsp://camera:554/live", "rtsp://camera:554/live: vlar reads files, not addresses"),
        ("0", "record camera 0 to a file"),
        ("c/missing.mp4", "c/missing.mp4: no such file"),
    ]:
        for read in (vlar.read_clip, lambda path: reader("video").probe(Path(path))):
            refused(DecodeError, said, read, given)


def test_a_frame_folder_is_claimed_as_one_recording(tmp_path: Path) -> None:
    folder = videos.make_frame_folder(tmp_path / "frames", 3)
    assert reader("video").claims(folder)
    assert not reader("video").claims(tmp_path)
    assert find([tmp_path]) == [folder]


posix = pytest.mark.skipif(os.name != "posix", reason="workers need a POSIX system")

SAMPLING = Sampling(2, shorter_side=64)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLAR_FILE_TIMEOUT_S", "2")
    monkeypatch.setenv("VLAR_FILE_MEMORY", "400MB")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("batch")
    names = ["1.mp4", "abort.mp4", "2.mp4", "zero.mp4", "hang.mp4", "eat.mp4", "3.mp4"]
    return [tiny_video(folder / name, number) for number, name in enumerate(names)]


def isolated_reader(source: Reader, files: list[Path]):
    return isolated(source, files, Path)


@posix
@pytest.mark.usefixtures("quick")
def test_a_batch_goes_on(files: list[Path]):
    rows = list(ViewSampler(FaultyReader(), SAMPLING).sample_each((f, None) for f in files))
    kinds = [row.kind if isinstance(row, Failure) else "clip" for row in rows]
    assert kinds == ["clip", "crash", "clip", "crash", "timeout", "memory", "clip"]
    assert [row.path for row in rows if isinstance(row, Failure)] == [
        files[i] for i in (1, 3, 4, 5)
    ]


@posix
@pytest.mark.usefixtures("quick")
def test_a_batch_over_time_goes_on(files: list[Path]):
    rows = ViewSampler(FaultyReader(), SAMPLING).sample_every(files, 4.0)
    kinds = [row.kind if isinstance(row, Failure) else "clip" for row in rows]
    two = ["clip"] * 2
    assert kinds == [*two, "crash", *two, "crash", "timeout", "memory", *two]


@posix
@pytest.mark.usefixtures("quick")
def test_windows_before_a_crash_are_kept(tmp_path: Path, files: list[Path]):
    path = tiny_video(tmp_path / "half-abort.mp4", 1)
    spans = [Window(0, 4), Window(2, 6), Window(4, 8)]
    with isolated_reader(FaultyReader(), [path, *files]) as (source, _):
        first, *rest = source.read_windows(path, spans, SAMPLING)
        assert isinstance(first, Clip)
        assert [row.kind for row in rest if isinstance(row, Failure)] == ["crash", "crash"]
        assert isinstance(source.read_clip(files[0], None, SAMPLING), Clip)


@posix
def test_the_same_clips_as_without_workers(files: list[Path]):
    good = [files[0], files[2], files[6]]
    plain = reader("video")
    with isolated_reader(plain, good) as (source, same):
        assert isinstance(source, IsolatedReader)
        assert list(same) == good
        for path in good:
            assert source.probe(path) == plain.probe(path)
        requests = [(path, Window(1.0, 5.0)) for path in good]
        for ours, theirs in zip(
            source.read(requests, SAMPLING), plain.read(requests, SAMPLING), strict=True
        ):
            assert isinstance(ours, Clip)
            assert isinstance(theirs, Clip)
            assert np.array_equal(ours.data, theirs.data)
            assert np.array_equal(ours.times_s, theirs.times_s)
            assert (ours.path, ours.window, ours.lost) == (theirs.path, theirs.window, theirs.lost)
        missing = source.read_windows(Path("no.mp4"), [Window(0, 1)], SAMPLING)
        assert list(missing) == list(plain.read_windows(Path("no.mp4"), [Window(0, 1)], SAMPLING))


@posix
def test_one_small_file_is_read_in_this_process(files: list[Path]):
    with isolated_reader(reader("video"), files[:1]) as (source, same):
        assert source is reader("video")
        assert list(same) == files[:1]


@posix
def test_workers_can_be_switched_off(files: list[Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLAR_DECODE_WORKERS", "0")
    with isolated_reader(reader("video"), files) as (source, _):
        assert source is reader("video")


@posix
def test_a_machine_that_starts_no_process_reads_all_the_same(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with isolated_reader(reader("video"), files) as (source, _), caplog.at_level("INFO", "vlar"):
        for path in (files[0], files[2]):
            assert isinstance(source.read_clip(path, None, SAMPLING), Clip)
    assert [r.message for r in caplog.records if "without worker processes" in r.message] != []


@posix
def test_leaving_early_does_not_wait_for_a_file_that_hangs(files: list[Path]):
    requests = [(files[0], None), (files[4], None)]
    begin = time.monotonic()
    rows = ViewSampler(FaultyReader(), SAMPLING).sample_each(requests)
    assert isinstance(next(rows), list)
    rows.close()
    assert time.monotonic() - begin < 20


@posix
def test_recordings_of_every_sensor_are_read_in_workers_as_they_are_without(tmp_path: Path):
    for sensor in ("skeleton", "imu", "audio", "depth"):
        plain = reader(sensor)
        (tmp_path / sensor).mkdir()
        file = plain.example(tmp_path / sensor)
        with isolated_reader(plain, [file, file]) as (source, _):
            assert isinstance(source, IsolatedReader)
            wanted = source.every_sample(file, None)
            assert wanted == plain.every_sample(file, None)
            assert source.person(Path("a1_s2_t3.mat")) == plain.person(Path("a1_s2_t3.mat"))
            ours, theirs = (each.read_clip(file, None, wanted) for each in (source, plain))
            assert np.array_equal(ours.data, theirs.data, equal_nan=sensor in ("skeleton", "imu"))
            assert ours.meta.keys() == theirs.meta.keys()


@posix
def test_a_foreign_exception_in_a_worker_is_the_error_of_its_file(files: list[Path]):
    with isolated_reader(FaultyReader(), files) as (source, _):
        assert isinstance(source, IsolatedReader)
        with pytest.raises(DecodeError, match=r"1\.mp4: reading it failed \(AttributeError"):
            source.read_clip(files[0], None, "no sampling")  # pyright: ignore


def test_a_worker_knows_every_format_of_skeletons(tmp_path: Path):
    """A worker imports the reader alone."""
    points = np.ones((4, 1, 25, 3), np.float32)
    export.write(tmp_path / "a.npz", Bodies(points, "ntu25", "m", 30.0))
    shutil.copy(tmp_path / "a.npz", tmp_path / "b.npz")
    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    with isolated_reader(reader("skeleton"), files) as (source, _):
        assert source.read_clip(files[1], None, Sampling(4)).data.shape == (4, 1, 25, 3)

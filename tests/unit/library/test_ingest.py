"""Steps of an ``add``: batches, still windows, lost frames, and files that crash a decoder."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import videos
from tests.faults import FaultyReader
from tests.refusals import refused
from tests.unit.library.fakes import DIM, FakeModel, stored, tiny_video
from vlar.encoders.session import Session
from vlar.library.ingest import encode, ingest
from vlar.library.ingest.encode import EncodedWindow, encode_clips
from vlar.library.ingest.reader import clips_of, uncovered_s
from vlar.library.ingest.request import AddRequest
from vlar.library.ingest.runners import base
from vlar.library.ingest.writer import by_file, write_windows
from vlar.library.library import Library
from vlar.library.manifest import LibraryManifest
from vlar.library.recording import CHANGED, FileRecord
from vlar.library.rows import AddEvent
from vlar.library.store.trust import writer_lock
from vlar.library.store.values import Stamp
from vlar.library.store.writer import SqliteWriter
from vlar.media.lookup import reader
from vlar.media.video.decode import read_windows
from vlar.media.video.frames import is_still, movement
from vlar.numeric import unit
from vlar.types import Clip, Encoded, Failure, Sampling, Window


class Counting(FakeModel):
    """Remembers the files of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        self.batches.append([clip.path.stem for clip in clips])
        return super().encode(clips)


def test_batches_cross_files_and_give_the_same_rows(
    tmp_path: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch
):
    together, alone = Counting(), Counting()
    with Library(tmp_path / "together.vlar", together) as library:
        library.add(clips)
        rows = stored(library)
    monkeypatch.setattr(encode, "_BATCH_CLIPS", 1)
    with Library(tmp_path / "alone.vlar", alone) as library:
        library.add(clips)
        assert stored(library) == rows
    assert [len(batch) for batch in together.batches] == [8, 7]
    assert together.batches[0] == ["0"] * 3 + ["1"] * 3 + ["2"] * 2
    assert [len(batch) for batch in alone.batches] == [1] * 15


def read(files: list[Path], manifest: LibraryManifest) -> Iterator[FileRecord | Clip | Failure]:
    """Records of new files, each followed by its clips."""
    source = reader("video")
    for file in files:
        yield FileRecord(file, CHANGED, str(file))
        yield from clips_of(source, file, source.probe(file).duration_s, manifest)


def test_a_batch_ends_at_a_number_of_bytes(clips: list[Path], monkeypatch: pytest.MonkeyPatch):
    model = Counting()
    manifest = LibraryManifest.new(model, "fake", 4.0, 2.0)
    items = list(read(clips, manifest))
    size = max(item.data.nbytes for item in items if isinstance(item, Clip))
    monkeypatch.setattr(Session, "batch_bytes", 2 * size)
    found = list(encode_clips(items, lambda: model, True))
    assert {len(batch) for batch in model.batches} <= {1, 2}
    assert [type(item) for item in found] == [
        EncodedWindow if isinstance(item, Clip) else type(item) for item in items
    ]


def test_no_model_for_what_needs_none_and_nothing_waits(clips: list[Path]):
    def refuse() -> FakeModel:
        raise AssertionError("the model was loaded")

    drawn: list[int] = []

    def records() -> Iterator[FileRecord]:
        for number in range(5):
            drawn.append(number)
            yield FileRecord(clips[0], "unchanged", str(clips[0]))

    stream = encode_clips(records(), refuse, True)
    next(stream)
    assert drawn == [0]
    assert len(list(stream)) == 4


def test_many_records_do_not_wait_for_a_batch_to_fill(clips: list[Path]):
    model = Counting()
    manifest = LibraryManifest.new(model, "fake", 4.0, 2.0)
    few = list(read(clips[:1], manifest))  # three clips: less than a batch
    drawn: list[int] = []

    def items() -> Iterator[FileRecord | Clip | Failure]:
        yield from few
        for number in range(10_000):
            drawn.append(number)
            yield FileRecord(clips[1], "unchanged", str(clips[1]))

    stream = encode_clips(items(), lambda: model, True)
    next(stream)
    assert len(drawn) < 100


def windows_of(seed: int, count: int) -> list[EncodedWindow]:
    vectors = unit(np.random.default_rng(seed).normal(size=(count, DIM)))
    return [EncodedWindow(Window(2.0 * n, 2.0 * n + 4), v) for n, v in enumerate(vectors)]


def test_another_executor_feeds_the_writer(tmp_path: Path):
    """No file, no reader, no encoder: records and windows made elsewhere become a library."""
    folder = tmp_path / "l.vlar"
    folder.mkdir()
    manifest = LibraryManifest.new(FakeModel(), "fake", 4.0, 2.0)
    broken = Failure(Path("/far/b.mp4"), "decode", "/far/b.mp4: window 3 is gone")
    nan = EncodedWindow(Window(0, 4), np.full(DIM, np.nan, np.float32))

    def record(name: str, seconds: float = 10.0) -> FileRecord:
        path = f"/far/{name}.mp4"
        return FileRecord(Path(path), CHANGED, path, Stamp(1, 1), f"hash {name}", seconds)

    def stream() -> Iterator[FileRecord | EncodedWindow | Failure]:
        yield record("a", 300.0)
        yield from windows_of(1, 148)  # more than one chunk
        yield record("b")
        yield from windows_of(2, 3)
        yield broken
        yield record("c")
        yield nan
        yield from windows_of(3, 2)
        yield record("d")
        yield FileRecord(Path("/far/e.mp4"), "failed", "/far/e.mp4", failure=broken)
        yield record("f")
        yield from windows_of(6, 1)

    events: list[AddEvent] = []
    with writer_lock(folder):
        writer = SqliteWriter.open_to_write(folder)
        report = write_windows(
            writer, stream(), manifest, total=6, tags={"from": "afar"}, progress=events.append
        )
        writer.close()
    assert (report.added, report.rows, len(report.failed)) == (3, 152, 4)
    assert [event.status for event in events] == [
        "start", "added", "added", "failed", "failed", "failed", "added",
    ]  # fmt: skip
    with Library(folder, FakeModel()) as library:
        assert {(Path(v.path).stem, v.windows, v.unreadable_windows) for v in library.videos()} == {
            ("a", 148, 0), ("b", 3, 1), ("f", 1, 0),
        }  # fmt: skip
        assert library.nearest(windows_of(6, 1)[0].vector, 1)[0].path == "/far/f.mp4"
        assert library.verify(files=False) == []


def test_a_file_given_up_early_does_not_disturb_the_next(tmp_path: Path):
    items = [
        FileRecord(Path("a"), CHANGED, "a"),
        *windows_of(1, 5),
        FileRecord(Path("b"), CHANGED, "b"),
        *windows_of(2, 2),
    ]
    seen = []
    for record, windows in by_file(items):
        if record.path == "a":
            next(iter(windows))  # the rest is left
        else:
            seen = list(windows)
    assert seen == items[-2:]


def test_an_error_of_the_stream_keeps_what_is_finished(tmp_path: Path, clips: list[Path]):
    class Lost(Exception):
        pass

    folder = tmp_path / "l.vlar"
    folder.mkdir()

    def stream() -> Iterator[FileRecord | EncodedWindow | Failure]:
        for name in ("a", "b"):
            yield FileRecord(Path(name), CHANGED, name, Stamp(1, 1), name, 8.0)
            yield from windows_of(ord(name), 3)
        raise Lost

    with writer_lock(folder):
        writer = SqliteWriter.open_to_write(folder)
        manifest = LibraryManifest.new(FakeModel(), "fake", 4.0, 2.0)
        refused(Lost, "", write_windows, writer, stream(), manifest, total=2)
        writer.close()
    with Library(folder) as library:
        assert [row.path for row in library.videos()] == ["a"]  # b may have had more windows


def test_copies_and_renames_in_one_stream_with_new_files(tmp_path: Path, clips: list[Path]):
    model = Counting()
    with Library(tmp_path / "l.vlar", model) as library:
        library.add(clips[:2])
        clips[0].rename(clips[0].with_name("renamed.mp4"))
        shutil.copy(clips[1], clips[1].with_name("copy.mp4"))
        tiny_video(clips[2], 77)
        shutil.copy(clips[2], clips[2].with_name("z.mp4"))  # a copy of what the same call adds
        report = library.add(clips[1].parent)
        assert (report.added, report.moved, report.unchanged) == (3, 3, 1)
        assert sum(map(len, model.batches)) == 15
        assert library.verify() == []


class EightFrames(FakeModel):
    n_frames = 8


def noisy(level: float, seed: int = 0) -> np.ndarray:
    """(8, 96, 128, 3) of one picture with the noise of a sensor."""
    random = np.random.default_rng(seed)
    picture = random.integers(0, 256, (24, 32, 3)).repeat(4, 0).repeat(4, 1).astype(np.float64)
    return (picture + random.normal(0, level, (8, 96, 128, 3))).clip(0, 255).astype(np.uint8)


def test_noise_is_still_and_a_small_thing_that_moves_is_not():
    assert movement(noisy(0)) == 0
    assert is_still(noisy(4))
    frames = noisy(4)
    for time in range(8):
        frames[time, 40:56, 8 + 10 * time : 24 + 10 * time] = 255 - frames[time, 40, 8, 0]
    assert not is_still(frames)
    slow = noisy(0)
    for time in range(8):
        slow[time] = (slow[time] * (1 - 0.04 * time)).astype(np.uint8)
    assert not is_still(slow)
    assert not is_still(noisy(0)[:2])


@pytest.fixture(scope="module")
def half_still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds in which nothing moves, then eight of a moving bar."""

    def picture(number: int) -> np.ndarray:
        pixels = np.full((64, 96, 3), 90, np.uint8)
        at = max(number - 32, 0) * 2 % 80
        pixels[20:44, at : at + 16] = 240
        return pixels

    path = tmp_path_factory.mktemp("still") / "half.mp4"
    return videos.make_video(path, 64, fps=4, codec="mpeg4", picture=picture)


def test_still_windows_are_left_out_and_counted(half_still: Path, tmp_path: Path):
    whole = Library(tmp_path / "whole.vlar", EightFrames())
    assert whole.add(half_still).still_windows == 0
    moving = Library(tmp_path / "moving.vlar", EightFrames())
    report = moving.add(half_still, skip_still=True)
    assert report.rows + report.still_windows == whole.info().rows == 7
    assert report.still_windows == 3
    assert report.still_s == pytest.approx(6.0)
    assert min(start for _, start, _, _ in stored(moving)) == 6.0
    assert moving.add(half_still, skip_still=True).unchanged == 1


def test_a_still_recording_keeps_one_window(tmp_path: Path):
    path = videos.make_blank_video(tmp_path / "blank.mp4", 250, grey=120)
    library = Library(tmp_path / "l.vlar", EightFrames())
    report = library.add(path, skip_still=True)
    assert (report.added, report.rows, report.failed) == (1, 1, ())
    assert report.still_s == pytest.approx(6.0)


SPANS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 9)).map(lambda s: Window(s[0], s[0] + s[1])),
    max_size=6,
)


@given(SPANS, SPANS)
def test_uncovered_seconds_are_those_of_the_clock(spans: list[Window], cover: list[Window]):
    def seconds(windows: list[Window]) -> set[int]:
        return {t for w in windows for t in range(int(w.start_s), int(w.end_s))}

    assert uncovered_s(spans, cover) == len(seconds(spans) - seconds(cover))


@pytest.fixture
def half_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of files named ``bad*`` that start at 2 s or later have half of their frames lost."""
    from dataclasses import replace

    from vlar.media.readers.video import VideoReader

    def read(_self: VideoReader, path: Path, windows: list[Window], sampling: Sampling):
        for clip in read_windows(path, windows, sampling.n_frames):
            assert isinstance(clip, Clip)
            is_bad = path.name.startswith("bad") and clip.window.start_s >= 2
            yield replace(clip, lost=0.5) if is_bad else clip

    monkeypatch.setattr(VideoReader, "read_windows", read)
    monkeypatch.setenv("VLAR_DECODE_WORKERS", "0")


def test_a_server_learns_how_far_within_a_recording_it_is(
    tmp_path: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ingest, "PART_S", 0.0)
    clip = tiny_video(tmp_path / "v" / "a.mp4", 1)
    events: list[AddEvent] = []
    for name, served in (("served", True), ("own", False)):
        with Library(tmp_path / f"{name}.vlar", model) as library:
            library.ingest(AddRequest([clip], progress=events.append, served=served))
    states = [event.status for event in events]
    reads = states.count("reading")
    assert states == ["start", *["reading"] * reads, "added", "start", "added"]
    parts = [event.part for event in events if event.status == "reading"]
    assert parts == sorted(parts)
    assert 0 < parts[0] < parts[-1] == 1.0
    assert {(event.done, event.advance) for event in events if event.part} == {(0, 0)}


@pytest.mark.usefixtures("half_lost")
def test_hits_and_events_show_it(tmp_path: Path, model: FakeModel):
    good = tiny_video(tmp_path / "v" / "good.mp4", 1)
    bad = tiny_video(tmp_path / "v" / "bad.mp4", 2)
    events: list[AddEvent] = []
    with Library(tmp_path / "l.vlar", model) as library:
        library.add([good, bad], progress=events.append)
        shares = {event.path.name: event.lost for event in events if event.path is not None}
        assert shares == {"good.mp4": 0.0, "bad.mp4": pytest.approx(1 / 3)}
        for expression in ("walking", "walking AND running"):
            hits = library.query(expression, 100, min_probability=0)
            assert {hit.lost for hit in hits if hit.path.endswith("good.mp4")} == {0.0}
            assert max(hit.lost for hit in hits if hit.path.endswith("bad.mp4")) == 0.5
            assert all(hit.to_dict()["lost"] == hit.lost for hit in hits)


@pytest.mark.usefixtures("half_lost")
def test_a_copy_has_it_and_a_repaired_file_has_not(tmp_path: Path, model: FakeModel):
    bad = tiny_video(tmp_path / "v" / "bad.mp4", 2)
    copy = bad.with_name("other.mp4")
    copy.write_bytes(bad.read_bytes())
    with Library(tmp_path / "l.vlar", model) as library:
        library.add([bad, copy])
        (hit,) = library.query("walking", 1, min_probability=0)
        assert hit.lost == 0.5
        library.remove(bad)
        (hit,) = library.query("walking", 1, min_probability=0)
        assert (Path(hit.path).name, hit.lost) == ("other.mp4", 0.5)
        tiny_video(copy, 3)
        library.add(copy)
        assert {h.lost for h in library.query("walking", 9, min_probability=0)} == {0.0}


def test_encoded_spans_and_answers_show_it(lite_model):
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    clip = Clip(Path("a"), Window(0, 1), "video", frames, np.array([0.0, 0.5]), lost=0.25)
    answer = lite_model.classify(clip, ["walking", "running"])
    assert answer.lost == 0.25
    assert answer.to_dict()["lost"] == 0.25


posix = pytest.mark.skipif(os.name != "posix", reason="workers need a POSIX system")


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLAR_FILE_TIMEOUT_S", "2")
    monkeypatch.setenv("VLAR_FILE_MEMORY", "400MB")
    for module in (ingest, base):
        monkeypatch.setattr(module, "reader", lambda _modality: FaultyReader())


def made(folder: Path, *names: str) -> list[Path]:
    return [tiny_video(folder / name, number) for number, name in enumerate(names)]


@posix
@pytest.mark.usefixtures("faulty")
def test_a_run_goes_on_and_the_next_one_skips(tmp_path: Path, model: FakeModel):
    files = made(tmp_path / "v", "1.mp4", "abort.mp4", "2.mp4", "hang.mp4", "eat.mp4", "3.mp4")
    with Library(tmp_path / "l.vlar", model) as library:
        report = library.add(files)
        assert report.added == 3
        assert [f.kind for f in report.failed] == ["crash", "timeout", "memory"]
        again = library.add(files)
        assert (again.added, again.unchanged) == (0, 3)
        assert [f.kind for f in again.failed] == ["crash", "timeout", "memory"]
        for failure, file in zip(again.failed, (files[1], files[3], files[4]), strict=True):
            assert failure.message.startswith(f"{file}: skipped, its reading failed before (")
            assert failure.message.endswith("); retry=True reads it")
        third = library.add(files)
        assert [f.message for f in third.failed] == [f.message for f in again.failed]


@posix
@pytest.mark.usefixtures("faulty")
def test_retry_and_a_changed_file_are_read(tmp_path: Path, model: FakeModel):
    good, bad = made(tmp_path / "v", "1.mp4", "abort.mp4")
    with Library(tmp_path / "l.vlar", model) as library:
        library.add([good, bad])
        retried = library.add([good, bad], retry=True)
        assert "skipped" not in retried.failed[0].message
        assert "skipped" in library.add([good, bad]).failed[0].message
        tiny_video(bad, 77)
        assert "skipped" not in library.add([good, bad]).failed[0].message
        # Its content elsewhere, under a name that does not crash.
        moved = bad.with_name("moved.mp4")
        shutil.copy(bad, moved)
        assert "skipped" in library.add([good, moved]).failed[0].message
        assert library.add([good, moved], retry=True).added == 1
        assert library.add([good, moved]).failed == ()


@posix
@pytest.mark.usefixtures("faulty")
def test_windows_before_a_crash_stay_and_a_retry_completes_them(tmp_path: Path, model: FakeModel):
    good, bad = made(tmp_path / "v", "1.mp4", "half-abort.mp4")
    with Library(tmp_path / "l.vlar", model) as library:
        report = library.add([good, bad])
        assert report.added == 2
        assert [f.kind for f in report.failed] == ["crash"]
        windows = {Path(v.path).name: (v.windows, v.unreadable_windows) for v in library.videos()}
        assert windows == {"1.mp4": (3, 0), "half-abort.mp4": (1, 2)}
        assert "skipped" in library.add([good, bad]).failed[0].message
        whole = bad.with_name("whole.mp4")
        bad.rename(whole)
        report = library.add([good, whole], retry=True)
        assert report.failed == ()
        windows = {Path(v.path).name: (v.windows, v.unreadable_windows) for v in library.videos()}
        assert windows["whole.mp4"] == (3, 0)


@posix
@pytest.mark.usefixtures("faulty")
def test_an_ordinary_error_is_not_remembered(tmp_path: Path, model: FakeModel):
    (good,) = made(tmp_path / "v", "1.mp4")
    bad = tmp_path / "v" / "bad.mp4"
    bad.write_bytes(b"not a video")
    with Library(tmp_path / "l.vlar", model) as library:
        first = library.add([good, bad]).failed
        assert [f.kind for f in first] == ["decode"]
        assert library.add([good, bad]).failed == first
    with sqlite3.connect(tmp_path / "l.vlar" / "library.sqlite") as database:
        found = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'failed_files'")
        assert found.fetchall() == []

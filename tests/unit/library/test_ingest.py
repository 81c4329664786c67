"""The three steps of an ``add``: batches that cross files, and a stream from elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.unit.library.fakes import DIM, FakeModel, tiny_video
from vlar.encoders.session import Session
from vlar.library.ingest import encode
from vlar.library.ingest.encode import EncodedWindow, encode_clips
from vlar.library.ingest.reader import CHANGED, FileRecord, read_files
from vlar.library.ingest.writer import by_file, write_windows
from vlar.library.library import Library
from vlar.library.manifest import LibraryManifest
from vlar.library.rows import AddEvent
from vlar.library.store.trust import writer_lock
from vlar.library.store.values import Stamp
from vlar.library.store.writer import SqliteWriter
from vlar.numeric import unit
from vlar.types import Clip, Encoded, Failure, Window


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


def stored(library: Library) -> list[tuple[object, ...]]:
    store = library._connection.reader()
    assert store is not None
    return store.fetch(
        "SELECT path, start_s, end_s, vector FROM rows JOIN videos ON videos.id = video_id "
        "ORDER BY path, start_s"
    )


def test_a_batch_ends_at_a_number_of_bytes(clips: list[Path], monkeypatch: pytest.MonkeyPatch):
    model = Counting()
    manifest = LibraryManifest.new(model, "fake", 4.0, 2.0)
    items = list(read_files(clips, {}, manifest))
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
    few = list(read_files(clips[:1], {}, manifest))  # three clips: less than a batch
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
        with pytest.raises(Lost):
            write_windows(writer, stream(), manifest, total=2)
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

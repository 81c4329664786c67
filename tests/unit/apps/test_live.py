"""Watched folders: what arrives is indexed once."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest

from tests.refusals import refused
from tests.unit.library.fakes import FakeModel, tiny_video
from vlar.apps.live import watch_folder
from vlar.errors import UsageError
from vlar.library.library import Library
from vlar.library.rows import AddReport


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return tiny_video(tmp_path / "source" / "a.mp4", 1)


def test_what_arrives_is_added_once_and_changes_are_updated(tmp_path: Path, clip: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(clip, folder / "first.mp4")
    library = Library(tmp_path / "l.vlar", FakeModel())
    stop = threading.Event()
    reports: list[AddReport] = []
    watch = watch_folder(library, folder, settle_s=0.1, poll_s=0.03, stop=stop, tags={"a": "b"})
    reports.append(next(watch))
    shutil.copy(tiny_video(tmp_path / "source" / "b.mp4", 2), folder / "second.mp4")
    reports.append(next(watch))
    shutil.copy(tiny_video(tmp_path / "source" / "c.mp4", 3), folder / "first.mp4")
    reports.append(next(watch))
    (folder / "broken.mp4").write_bytes(b"no video")
    reports.append(next(watch))
    stop.set()
    assert list(watch) == []
    assert [(r.added, r.updated, len(r.failed)) for r in reports] == [
        (1, 0, 0),
        (1, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
    ]
    assert [row.tags for row in library.videos()] == [{"a": "b"}] * 2


def test_a_file_that_grows_waits(tmp_path: Path, clip: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    data = clip.read_bytes()
    grown = threading.Event()

    def write() -> None:
        with (folder / "a.mp4").open("wb") as file:
            for at in range(0, len(data), len(data) // 8 + 1):
                file.write(data[at : at + len(data) // 8 + 1])
                file.flush()
                time.sleep(0.08)
        grown.set()

    library = Library(tmp_path / "l.vlar", FakeModel())
    writer = threading.Thread(target=write)
    writer.start()
    watch = watch_folder(library, folder, settle_s=0.3, poll_s=0.03)
    report = next(watch)
    assert grown.is_set()
    assert (report.added, report.failed) == (1, ())
    writer.join()


def test_once_ends_and_an_empty_file_never_counts(tmp_path: Path, clip: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "empty.mp4").write_bytes(b"")
    shutil.copy(clip, folder / "a.mp4")
    library = Library(tmp_path / "l.vlar", FakeModel())
    watch = watch_folder(library, folder, settle_s=0.05, poll_s=0.02, once=True)
    assert [report.added for report in watch] == [1]
    again = watch_folder(library, folder, settle_s=0.05, poll_s=0.02, once=True)
    assert [report.unchanged for report in again] == [1]


def test_faults(tmp_path: Path):
    library = Library(tmp_path / "l.vlar", FakeModel())
    refused(UsageError, "not a folder", next, watch_folder(library, tmp_path / "none"))
    refused(UsageError, "settle_s", next, watch_folder(library, tmp_path, settle_s=-1))

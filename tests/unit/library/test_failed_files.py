"""A file that crashed, hung or took all memory is named and skipped until it changes."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.faults import FaultyReader
from tests.unit.library.fakes import FakeModel, tiny_video
from vlar.library.ingest import ingest
from vlar.library.library import Library

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers need a POSIX system")


@pytest.fixture(autouse=True)
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLAR_FILE_TIMEOUT_S", "2")
    monkeypatch.setenv("VLAR_FILE_MEMORY", "400MB")
    monkeypatch.setattr(ingest, "reader", lambda _modality: FaultyReader())


def made(folder: Path, *names: str) -> list[Path]:
    return [tiny_video(folder / name, number) for number, name in enumerate(names)]


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
            assert failure.message.endswith("); --retry reads it")
        third = library.add(files)
        assert [f.message for f in third.failed] == [f.message for f in again.failed]


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

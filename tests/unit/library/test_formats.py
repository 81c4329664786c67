"""Libraries over years: earlier formats, killed migrations, copies that are taken meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.refusals import refused
from tests.unit.library.fakes import FakeModel, stored, tiny_video
from tests.unit.library.test_damage import one_line
from vlar.errors import LibraryError
from vlar.library.library import Library
from vlar.library.maintain.upgrade import STAGE
from vlar.library.store import schema

PHRASE = "a cat"
# What takes a library of format n + 1 back to format n.
BACK = {
    2: (
        "DROP INDEX rows_by_time",
        "ALTER TABLE rows DROP COLUMN track",
        "ALTER TABLE rows DROP COLUMN box",
        "CREATE UNIQUE INDEX rows_by_time ON rows (video_id, start_s, end_s)",
        "PRAGMA user_version = 2",
    ),
    1: (
        "ALTER TABLE rows DROP COLUMN checksum",
        "ALTER TABLE contexts DROP COLUMN checksum",
        "DROP TRIGGER rows_leave_a_tombstone",
        "DROP TABLE tombstones",
        "CREATE TABLE tombstones (row_id INTEGER PRIMARY KEY)",
        "CREATE TRIGGER rows_leave_a_tombstone AFTER DELETE ON rows "
        "BEGIN INSERT INTO tombstones (row_id) VALUES (old.id); END",
        "PRAGMA user_version = 1",
    ),
}


class Deadly(tuple):
    """Statements of a migration; the process is killed before one of them, or after the last."""

    at = 0

    def __iter__(self) -> Iterator[str]:
        for index in range(len(self) + 1):
            if index == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
            if index < len(self):
                yield self[index]


def version_of(folder: Path) -> int:
    with closing(sqlite3.connect(folder / schema.FILE_NAME)) as database:
        return database.execute("PRAGMA user_version").fetchone()[0]


@pytest.mark.parametrize("version", BACK)
def test_a_killed_migration_leaves_an_earlier_format_that_answers_alike(
    tmp_path: Path, model: FakeModel, clips: list[Path], version: int
):
    folder = tmp_path / "l.vlar"
    with Library(folder, model) as library:
        library.add(clips, tags={"place": "gym"})
        rows, hits = stored(library), library.query(PHRASE, 9, min_probability=0)
    with closing(sqlite3.connect(folder / schema.FILE_NAME, isolation_level=None)) as database:
        for step in range(schema.SCHEMA_VERSION - 1, version - 1, -1):
            for statement in BACK[step]:
                database.execute(statement)
    kills = [
        (step, at)
        for step in range(version, schema.SCHEMA_VERSION)
        for at in range(len(schema.MIGRATIONS[step]) + 1)
    ]
    for step, at in kills:
        copy = tmp_path / f"{step} {at}.vlar"
        shutil.copytree(folder, copy)
        if not (child := os.fork()):
            deadly = Deadly(schema.MIGRATIONS[step])
            deadly.at = at
            steps = schema.MIGRATIONS
            schema.MIGRATIONS = (*steps[:step], deadly, *steps[step + 1 :])
            Library(copy, model)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        assert version_of(copy) == step  # a step is whole or not at all
        with Library(copy, model) as library:
            assert library.query(PHRASE, 9, min_probability=0)[0].row == hits[0].row
            assert stored(library) == [(*row,) for row in rows]
            assert library.add(clips).unchanged == len(clips)
            assert library.verify() == []
        assert version_of(copy) == schema.SCHEMA_VERSION


def test_a_newer_library_is_refused_in_one_line(
    tmp_path: Path, model: FakeModel, clips: list[Path]
):
    folder = tmp_path / "l.vlar"
    with Library(folder, model) as library:
        library.add(clips[:1])
    with closing(sqlite3.connect(folder / schema.FILE_NAME)) as database, database:
        database.execute("UPDATE meta SET value = 'float16, other' WHERE key = 'vector_type'")
    for call in (Library(folder, model).query, Library(folder, model).refine):
        one_line(refused(LibraryError, "", call, PHRASE), folder, "float16, other", "upgrade")
    assert not (folder / STAGE).exists()


@pytest.mark.slow
def test_a_copy_that_is_taken_while_it_is_written_is_sound(tmp_path: Path, model: FakeModel):
    videos = [tiny_video(tmp_path / "videos" / f"{i}.mp4", i, 4) for i in range(60)]
    folder, done = tmp_path / "l.vlar", threading.Event()

    def write() -> None:
        with Library(folder, model) as library:
            for video in videos:
                library.add(video)
        done.set()

    def copied(source: str, target: str) -> None:
        with suppress(FileNotFoundError):  # a log goes when its last connection closes
            shutil.copy2(source, target)

    thread = threading.Thread(target=write)
    thread.start()
    copies = list[Path]()
    try:
        while len(copies) < 30 and not done.is_set():
            if (folder / schema.FILE_NAME).exists():
                copies.append(tmp_path / "copies" / f"{len(copies)}.vlar")
                shutil.copytree(folder, copies[-1], copy_function=copied)
            time.sleep(0.05)
    finally:
        thread.join()
    counts = []
    for copy in copies:
        with Library(copy, model) as library:
            assert library.verify(files=False) == []
            counts.append(len(library))
    assert counts == sorted(counts)
    assert len(copies) > 4

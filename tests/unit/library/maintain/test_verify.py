"""What ``verify`` finds, how it names it, and what ``repair`` mends."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.unit.library import hostile as h
from tests.unit.library.fakes import ConditionedFake, FakeModel, store_of, tiny_video
from vlar.library import cache
from vlar.library.library import Library


@pytest.fixture
def library(tmp_path: Path, model: FakeModel, clips: list[Path]) -> Library:
    opened = Library(tmp_path / "l.vlar", model)
    opened.add(clips)
    opened.query("a cat", min_probability=0)
    assert opened.verify() == []
    return opened


def change(library: Library, *statements: str) -> None:
    library._connection.disconnect()
    with sqlite3.connect(library.path / "library.sqlite") as database:
        for statement in statements:
            database.execute(statement)
    database.close()


def kinds(library: Library) -> list[str]:
    return [problem.kind for problem in library.verify()]


def flip_a_bit(library: Library, clip: Path) -> None:
    """In the database file itself, where SQLite sees nothing."""
    store = store_of(library)
    ((blob,),) = store.fetch("SELECT vector FROM rows WHERE id = 5")
    library._connection.disconnect()
    with sqlite3.connect(library.path / "library.sqlite") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    file = library.path / "library.sqlite"
    content = bytearray(file.read_bytes())
    content[content.index(blob) + 7] ^= 1
    file.write_bytes(content)


def test_a_database_of_no_bytes_is_a_fault_and_an_absent_one_is_not(
    library: Library, model: FakeModel, tmp_path: Path
):
    library.close()
    for name in ("library.sqlite", "library.sqlite-wal"):
        (tmp_path / "l.vlar" / name).unlink(missing_ok=True)
    with Library(tmp_path / "l.vlar", model) as absent:
        assert absent.verify() == []
    (tmp_path / "l.vlar" / "library.sqlite").touch()
    with Library(tmp_path / "l.vlar", model) as emptied:
        (fault,) = emptied.verify()
    assert (fault.kind, fault.repaired) == ("database", False)
    assert "library.sqlite has no tables (0 bytes); restore a copy" in fault.message


def test_a_flipped_bit_is_named_and_mended_by_reading_the_file_again(
    library: Library, clips: list[Path]
):
    flip_a_bit(library, clips[1])
    (problem,) = library.verify()
    assert (problem.kind, problem.path) == ("row", str(clips[1]))
    assert "row 5 (2 to 6 s: its bits have changed)" in problem.message
    assert "--repair" in problem.message
    (repaired,) = library.verify(repair=True)
    assert repaired.repaired
    assert f"vlar index add {library.path} {clips[1]}" in repaired.message
    assert library.info().rows == 14
    assert kinds(library) == ["changed"]
    assert library.add(clips).updated == 1
    assert library.verify() == []


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("UPDATE rows SET vector = x'00' WHERE id = 5", "1 bytes, not 48"),
        ("UPDATE rows SET start_s = 2.5 WHERE id = 5", "changed"),
        ("UPDATE rows SET checksum = NULL WHERE id = 5", "no checksum"),
    ],
)
def test_rows_that_cannot_be(library: Library, statement: str, word: str):
    change(library, statement)
    (problem,) = library.verify()
    assert problem.kind == "row"
    assert word in problem.message


def test_missing_and_changed_files(library: Library, clips: list[Path]):
    clips[0].unlink()
    tiny_video(clips[1], content=50)
    clips[2].touch()  # the same content
    assert [(p.kind, p.path) for p in library.verify()] == [
        ("missing", str(clips[0])),
        ("changed", str(clips[1])),
    ]
    assert library.verify(files=False) == []
    library.add(clips[1])
    library.remove(clips[0])
    assert library.verify() == []


def test_a_cache_with_a_flipped_bit_is_made_again(
    library: Library, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cache, "_CHECKED_BYTES", 0)  # as a large file: not read when opened
    hits = library.query("a cat", 100, min_probability=0)
    file = h.cache_of(library.path)
    content = bytearray(file.read_bytes())
    content[150] ^= 1
    file.write_bytes(content)
    assert kinds(library) == ["cache"]
    (problem,) = library.verify(repair=True)
    assert problem.repaired
    assert library.verify() == []
    assert library.query("a cat", 100, min_probability=0) == hits


def test_a_cache_of_other_rows(library: Library, tmp_path: Path, model: FakeModel):
    change(library, "UPDATE rows SET id = 99 WHERE id = 15")
    assert kinds(library) in (["cache"], [])  # the count is the same: only verify can tell
    assert library.verify(repair=True) == [] or library.verify() == []


def test_orphans(library: Library):
    change(
        library,
        "PRAGMA foreign_keys = OFF",
        "INSERT INTO tags VALUES (99, 'a', 'b')",
        "INSERT INTO videos VALUES (50, '/none.mp4', 'x', -1, 0, 1, 0, 0)",
    )
    assert sorted(kinds(library)) == ["empty", "orphan"]
    library.verify(repair=True)
    assert kinds(library) == ["empty"]


def test_a_changed_context(tmp_path: Path, clips: list[Path]):
    with Library(tmp_path / "c.vlar", ConditionedFake()) as library:
        library.add(clips[:2])
        assert library.verify() == []
        change(library, "UPDATE contexts SET checksum = 1 WHERE row_id = 2")
        assert kinds(library) == ["context"]


def test_a_damaged_database(library: Library):
    change(
        library,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'CREATE INDEX videos_by_content ON videos (path)' "
        "WHERE name = 'videos_by_content'",
    )
    problem, *_ = library.verify()
    assert problem.kind == "database"
    assert "restore a copy" in problem.message


def test_compact_shrinks_and_keeps(library: Library, clips: list[Path]):
    library.add(
        [tiny_video(clips[0].with_name(f"n{i}.mp4"), i, seconds=200) for i in range(20, 24)]
    )
    library.remove(str(clips[0].parent / "n*"))
    hits = library.query("a cat", 100, min_probability=0)
    report = library.compact()
    assert report.bytes_after < report.bytes_before
    assert (report.rows, report.tombstones > 0) == (15, True)
    assert library.query("a cat", 100, min_probability=0) == hits
    assert library.compact().tombstones == 0
    assert library.verify() == []

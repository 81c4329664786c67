"""Whatever a stranger wrote into a library: one line, no impossible score, and what can be repaired
is repaired."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.library import hostile as h
from tests.unit.library.fakes import DIM, FakeModel
from vlar.errors import LibraryError, VlarError
from vlar.library.library import Library
from vlar.library.maintain.verify import LibraryFault
from vlar.types import Hit

ROWS = h.VIDEOS * h.WINDOWS
NAN, HUGE, DEEP = math.nan, 10**30, "[" * 100_000
BAD_VECTOR = h.vector([1.0] * DIM)  # of length 4.9


@dataclass(frozen=True)
class Case:
    """An attack, and what becomes of it.

    ``kind`` is the fault that ``verify`` names; None where there is none to name (the attack is
    harmless), and "refused" where the library cannot be opened or has no usable manifest.
    ``rows`` are left after ``repair``; None where it cannot repair.
    """

    attack: h.Attack
    kind: str | None
    rows: int | None = ROWS


def refused(attack: h.Attack) -> Case:
    return Case(attack, "refused", None)


def damaged_row(attack: h.Attack) -> Case:
    return Case(attack, "row", ROWS - 1)


MANIFEST = {
    "dim is huge": refused(h.meta("dim", str(10**12))),
    "dim is negative": refused(h.meta("dim", "-24")),
    "dim is a word": refused(h.meta("dim", "many")),
    "dim is a fraction": refused(h.meta("dim", "24.5")),
    "dim has 5000 digits": refused(h.meta("dim", "9" * 5000)),
    "dim is a blob": refused(h.meta("dim", b"\xff\x00")),
    "dim is another": Case(h.meta("dim", "12"), "row", 0),
    "generation is a word": Case(h.meta("generation", "soon"), "manifest"),
    "generation is huge": Case(h.meta("generation", str(HUGE)), "manifest"),
    "generation is negative": Case(h.meta("generation", "-5"), "manifest"),
    "generation is the last": Case(h.meta("generation", str(2**63 - 1)), "manifest"),
    "generation is gone": Case(h.sql("DELETE FROM meta WHERE key = 'generation'"), "manifest"),
    "compacted_at is a word": Case(h.new_meta("compacted_at", "x"), "manifest"),
    "compacted_at is huge": Case(h.new_meta("compacted_at", str(HUGE)), "manifest"),
    "library_id is gone": Case(h.sql("DELETE FROM meta WHERE key = 'library_id'"), "manifest"),
    "a key is a blob": Case(h.new_meta(b"\x00\xff", "x"), "manifest"),
    "a key is not text": Case(
        h.sql("INSERT INTO meta VALUES (CAST(x'ff41' AS TEXT), 'x')"), "manifest"
    ),
    "windows are NaN": refused(h.meta("window_s", "nan")),
    "windows are endless": refused(h.meta("window_s", "inf")),
    "windows are negative": refused(h.meta("window_s", "-4")),
    "windows are 1e300 s": refused(h.meta("window_s", "1e300")),
    "stride is 0": refused(h.meta("stride_s", "0")),
    "frames are 10**10": refused(h.meta("n_frames", str(10**10))),
    "frames are negative": refused(h.meta("shorter_side", "-1")),
    "long windows are NaN": refused(h.meta("long_times", "nan")),
    "sensor is a path": refused(h.meta("modality", "../../etc")),
    "blocks are deep": Case(h.meta("blocks", DEEP), None),
    "blocks are other JSON": Case(h.meta("blocks", '[[1, 2, 3, 4, 5], {"a": 1}]'), None),
    "engine is a path": Case(h.new_meta("ann_type", "../../x"), None),
    "engine is a blob": Case(h.new_meta("ann_type", b"\xff"), "manifest"),
    "context shape is a word": Case(h.new_meta("context_shape", "x"), "manifest"),
    "context shape is huge": Case(h.new_meta("context_shape", "99999999 99999999"), "manifest"),
    "vectors of another type": refused(h.meta("vector_type", "float64")),
    "no fingerprint": refused(h.sql("DELETE FROM meta WHERE key = 'fingerprint'")),
}
RECORDS = {
    "start is text": damaged_row(h.row("start_s", "soon")),
    "start is a blob": damaged_row(h.row("start_s", b"\xff")),
    "start is endless": damaged_row(h.row("start_s", math.inf)),
    "start is negative": damaged_row(h.row("start_s", -2.0)),
    "end is endless": damaged_row(h.row("end_s", math.inf)),
    "end is before start": damaged_row(h.row("end_s", 1.0)),
    "end is text": damaged_row(h.row("end_s", "late")),
    "times were changed": damaged_row(h.unsealed("start_s", 2.5)),
    "vector is text": damaged_row(h.row("vector", "many words")),
    "vector is a number": damaged_row(h.row("vector", 7)),
    "vector is short": damaged_row(h.row("vector", b"\x00\x3c")),
    "vector is long": damaged_row(h.row("vector", BAD_VECTOR + b"\x00\x00")),
    "vector is empty": damaged_row(h.row("vector", b"")),
    "vector is NaN": damaged_row(h.row("vector", h.vector(NAN))),
    "one number is NaN": damaged_row(h.row("vector", h.one_large(NAN))),
    "one number is endless": damaged_row(h.row("vector", h.one_large(math.inf))),
    "vector of length 608": damaged_row(h.row("vector", h.one_large(608))),
    "vector of length 4.9": damaged_row(h.row("vector", BAD_VECTOR)),
    "vector was changed": damaged_row(h.unsealed("vector", h.one_large(1))),
    "a bit was flipped": damaged_row(h.flipped_bit),
    "checksum is absent": damaged_row(h.unsealed("checksum", None)),
    "checksum is text": damaged_row(h.unsealed("checksum", "sum")),
    "checksum is 2**62": damaged_row(h.unsealed("checksum", 1 << 62)),
    "track is text": damaged_row(h.unsealed("track", "left")),
    "track is negative": damaged_row(h.person(-1, h.box(0, 0, 1, 1))),
    "track was changed": damaged_row(h.unsealed("track", 1)),
    "a person without a box": damaged_row(h.person(1, None)),
    "a whole frame with a box": damaged_row(h.person(0, h.box(0, 0, 1, 1))),
    "box is text": damaged_row(h.person(1, "0 0 1 1")),
    "box is short": damaged_row(h.person(1, h.box(0, 0, 1))),
    "box is NaN": damaged_row(h.person(1, h.box(0, NAN, 1, 1))),
    "box is outside": damaged_row(h.person(1, h.box(0, 0, 1, 1.01))),
    "row of no recording": damaged_row(h.unsealed("video_id", 999)),
    "recording is text": damaged_row(h.unsealed("video_id", "x")),
    "recording is negative": damaged_row(h.unsealed("video_id", -1)),
    "recording is 2**62": damaged_row(h.unsealed("video_id", 1 << 62)),
    "row id is negative": damaged_row(h.without_cache(h.unsealed("id", -5))),
    "row id is the last": damaged_row(h.without_cache(h.unsealed("id", 2**63 - 1))),
    "path is a blob": Case(h.video("path", b"\xff\x00"), "recording", ROWS - 3),
    "path is not UTF-8": Case(
        h.sql("UPDATE videos SET path = CAST(x'ff41' AS TEXT) WHERE id = 2"), "recording", ROWS - 3
    ),
    "path is empty": Case(h.video("path", ""), "recording", ROWS - 3),
    "path is 5 MB": Case(h.video("path", "/" + "x" * 5_000_000), "recording", ROWS - 3),
    "path has a NUL": Case(h.video("path", "/v/\0.mp4"), "recording", ROWS - 3),
    "path has escapes": Case(h.video("path", "/v/\x1b[2J\n\u202e.mp4"), None),
    "hash is a blob": Case(h.video("content_hash", b"\xff"), "recording"),
    "size is text": Case(h.video("size", "big"), "recording"),
    "file time is text": Case(h.video("mtime_ns", "late"), "recording"),
    "file time is 1e300": Case(h.video("mtime_ns", 1e300), "recording"),
    "duration is text": Case(h.video("duration_s", "long"), "recording"),
    "duration is endless": Case(h.video("duration_s", math.inf), "recording"),
    "duration is negative": Case(h.video("duration_s", -1.0), "recording"),
    "duration is a blob": Case(h.video("duration_s", b"\x00"), "recording"),
    "added is text": Case(h.video("added_at_s", "now"), "recording"),
    "added is 1e300": Case(h.video("added_at_s", 1e300), "recording"),
    "added is -1e300": Case(h.video("added_at_s", -1e300), "recording"),
    "unreadable is text": Case(h.video("unreadable_windows", "all"), "recording"),
    "recording without rows": Case(
        h.without_cache(h.sql("DELETE FROM rows WHERE video_id = 2")), "empty", None
    ),
    "tag is a blob": Case(h.sql("UPDATE tags SET value = x'ff' WHERE video_id = 2"), "tag"),
    "tag is not UTF-8": Case(
        h.sql("UPDATE tags SET value = CAST(x'ff41' AS TEXT) WHERE video_id = 2"), "tag"
    ),
    "tag key is a blob": Case(h.sql("UPDATE tags SET key = x'ff' WHERE video_id = 2"), "tag"),
    "tag is 5 MB": Case(
        h.sql(("UPDATE tags SET value = ? WHERE video_id = 2", ("x" * 5_000_000,))), "tag"
    ),
    "tag of no recording": Case(
        h.sql("UPDATE tags SET video_id = 999 WHERE video_id = 2"), "orphan"
    ),
    "tag of recording x": Case(h.sql("UPDATE tags SET video_id = 'x' WHERE video_id = 2"), "tag"),
    "tombstone of a live row": Case(h.sql("INSERT INTO tombstones VALUES (5, 0)"), None),
    "tombstone of text": Case(h.sql("INSERT INTO tombstones VALUES (99, 'x')"), None),
    "context of no row": Case(h.sql("INSERT INTO contexts VALUES (999, x'00', 1)"), "context"),
    "context is text": Case(h.sql("INSERT INTO contexts VALUES (5, 'text', 1)"), "context"),
    "context without a shape": Case(
        h.sql("INSERT INTO contexts VALUES (5, x'0000', row_checksum(0, 0, x'0000'))"), "context"
    ),
    "row ids are used up": Case(
        h.sql(f"UPDATE sqlite_sequence SET seq = {2**63 - 1} WHERE name = 'rows'"), "manifest"
    ),
}
SCHEMA = {
    "a view": refused(h.sql("CREATE VIEW extra AS SELECT * FROM rows")),
    "a view in place of rows": refused(
        h.sql("ALTER TABLE rows RENAME TO held", "CREATE VIEW rows AS SELECT * FROM held")
    ),
    "a trigger": refused(
        h.sql("CREATE TRIGGER extra AFTER INSERT ON tags BEGIN DELETE FROM rows; END")
    ),
    "another tombstone trigger": refused(
        h.sql(
            "DROP TRIGGER rows_leave_a_tombstone",
            "CREATE TRIGGER rows_leave_a_tombstone AFTER DELETE ON rows BEGIN "
            "DELETE FROM videos; END",
        )
    ),
    "no tombstone trigger": refused(h.sql("DROP TRIGGER rows_leave_a_tombstone")),
    "a virtual table": refused(h.sql("CREATE VIRTUAL TABLE extra USING fts5(words)")),
    "no table of tags": refused(h.sql("DROP TABLE tags")),
    "a column is gone": refused(h.sql("ALTER TABLE rows DROP COLUMN checksum")),
    "a generated column": refused(
        h.rewritten_schema("checksum INTEGER", "checksum AS (load_extension('x'))", "rows")
    ),
    "a check": refused(
        h.rewritten_schema("end_s REAL NOT NULL", "end_s REAL CHECK (abs(end_s))", "rows")
    ),
    "a table that is not SQL": refused(h.rewritten_schema("CREATE", "\x1b[2J", "tags")),
    "a table of somebody": Case(h.sql("CREATE TABLE notes (words)"), None),
    "another index": Case(
        h.rewritten_schema("(content_hash)", "(path)", "videos_by_content"), "database", None
    ),
    "another program": refused(h.sql("PRAGMA application_id = 7")),
    "format -3": refused(h.sql("PRAGMA user_version = -3")),
    "format 0": refused(h.sql("PRAGMA user_version = 0")),
    "format 1": refused(h.sql("PRAGMA user_version = 1")),
}
FILES = {
    "database is a link": refused(h.linked("library.sqlite")),
    "database is a FIFO": refused(h.fifo("library.sqlite")),
    "database is a folder": refused(h.a_folder("library.sqlite")),
    "database is cut": refused(h.replaced("library.sqlite", lambda old: old[:20_000])),
    "database is garbage": refused(h.replaced("library.sqlite", b"\x07" * 9000)),
    "log is a FIFO": refused(h.fifo("library.sqlite-wal")),
    "log is a link": refused(h.linked("library.sqlite-wal")),
    "a journal": Case(h.replaced("library.sqlite-journal", b"\xd9\xd5\x05\xf9" * 300), None),
    "log is garbage": Case(h.replaced("library.sqlite-wal", b"\x07" * 9000), None),
    "lock is a FIFO": Case(h.fifo("writer.lock"), "lock"),
    "lock is a link": Case(h.linked("writer.lock"), "lock"),
    "stage is a link": Case(h.upgrade_stage_linked, None),
}
OLD_CACHE = {  # what a library of an earlier version, or of a stranger, brings is not read
    "old cache is a FIFO": Case(h.fifo("ann.faiss"), None),
    "old cache is a folder": Case(h.a_folder("ann.faiss"), None),
    "old cache is a link": Case(h.linked("ann.faiss"), None),
    "old cache is garbage": Case(h.replaced("ann.faiss", b"\x07" * 9000), None),
}
CASES = {**MANIFEST, **RECORDS, **SCHEMA, **FILES, **OLD_CACHE}
ALL = pytest.mark.parametrize("name", CASES)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return h.made(tmp_path_factory.mktemp("made") / "l.vlar")


@pytest.fixture(scope="module")
def answers(original: Path) -> list[Hit]:
    with Library(original, FakeModel()) as library:
        return library.query("a cat", 50, min_probability=0)


@pytest.fixture
def attacked(name: str, original: Path, tmp_path: Path) -> Path:
    folder = h.copied(original, tmp_path / "l.vlar")
    CASES[name].attack(folder)
    return folder


@ALL
def test_every_verb_gives_a_result_or_one_line(name: str, attacked: Path):
    case = CASES[name]
    for verb in h.VERBS:
        found = h.used(attacked, verb)
        if case.kind == "refused" and verb in ("query", "import", "verify"):
            assert isinstance(found, VlarError) or is_named(found), (verb, found)


def is_named(found: object) -> bool:
    """Whether ``verify`` named a fault where it could open the library."""
    return isinstance(found, list) and any(isinstance(row, LibraryFault) for row in found)


@ALL
def test_verify_names_it_and_repair_removes_it(name: str, attacked: Path, answers: list[Hit]):
    case = CASES[name]
    three = verified(attacked)
    if isinstance(three, VlarError):
        assert case.kind == "refused", three
        return
    found, repaired, left = three
    assert all("\n" not in fault.message for fault in found)
    if case.kind == "refused":
        assert {fault.kind for fault in found} == {"manifest"}
        assert left
        return
    kinds = {fault.kind for fault in found}
    if case.kind == "row":  # the cache may be named too: it has the row as it was
        kinds.discard("cache")
    assert kinds == ({case.kind} if case.kind else set())
    if case.rows is None:
        assert not any(fault.repaired for fault in repaired)
        return
    assert all(fault.repaired for fault in repaired), repaired
    assert [fault for fault in left if fault.kind != "empty"] == []
    with Library(attacked, FakeModel(), create=False) as library:
        assert library.info().rows == case.rows
        assert same_answers(library, answers, case.rows)


def verified(folder: Path) -> list[list[LibraryFault]] | VlarError:
    """What ``verify`` finds before a repair, in it and after it."""
    try:
        with Library(folder, FakeModel(), create=False) as library:
            return [library.verify(), library.verify(repair=True), library.verify()]
    except LibraryError as error:
        return h.require_one_line(error)


def same_answers(library: Library, answers: list[Hit], rows: int) -> bool:
    """The rows that are left answer as they did."""
    if not rows:
        return True
    before = {(hit.path, hit.similarity) for hit in answers}
    hits = library.query("a cat", 50, min_probability=0)
    if rows == ROWS and {hit.path for hit in hits} == {hit.path for hit in answers}:
        return {(hit.path, hit.similarity) for hit in hits} == before
    return bool(hits) and {hit.similarity for hit in hits} & {s for _, s in before} != set()


DAMAGED = [name for name, case in CASES.items() if case.kind == "row" and case.rows]


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_row_is_named_and_the_others_answer(
    name: str, attacked: Path, caplog: pytest.LogCaptureFixture
):
    h.cache_of(attacked).unlink(missing_ok=True)
    for _ in range(2):  # the engine is built, then read
        caplog.clear()
        with Library(attacked, FakeModel(), create=False) as library:
            reports = []
            hits = library.query("a cat", 50, min_probability=0, report=reports.append)
        assert hits
        (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert "\n" not in line
        assert "row " in line
        assert f"vlar index verify {attacked} --repair" in line
        assert reports[0].damaged == 1


@pytest.mark.parametrize("signed", [True, False])
def test_a_vector_that_has_grown_does_not_rank_first(signed: bool, original: Path, tmp_path: Path):
    """It lies in the direction of the query: unchecked it would have a similarity of 600."""
    folder = h.copied(original, tmp_path / "l.vlar")
    grown = h.vector(600 * FakeModel().encode_queries(["a cat"])[0])
    (h.row if signed else h.unsealed)("vector", grown)(folder)
    for cached in (True, False):
        if not cached:
            h.cache_of(folder).unlink()
        for verb in ("query", "operators", "tag", "times", "path", "nearest"):
            hits = h.used(folder, verb)
            assert isinstance(hits, list)
            assert hits
            assert max(abs(hit.similarity) for hit in hits) <= 1.0


def test_a_link_is_not_written_through(original: Path, tmp_path: Path):
    folder = h.copied(original, tmp_path / "l.vlar")
    h.upgrade_stage_linked(folder)
    for verb in h.VERBS:
        h.used(folder, verb)
    assert [each.name for each in (tmp_path / "victim").iterdir()] == ["letter.txt"]


def test_a_stored_path_is_not_read_unless_it_is_a_file(original: Path, tmp_path: Path):
    import os

    folder, pipe = tmp_path / "l.vlar", tmp_path / "pipe.mp4"
    shutil.copytree(original, folder)
    os.mkfifo(pipe)
    h.sql(
        ("UPDATE videos SET path = ?, size = 5 WHERE id = 1", (str(pipe),)),
        "UPDATE videos SET path = '/dev/zero', size = 5 WHERE id = 2",
    )(folder)
    with Library(folder, FakeModel(), create=False) as library:
        assert {fault.kind for fault in library.verify()} == {"missing"}
    assert isinstance(h.used(folder, "upgrade"), object)


def test_the_suite_is_large_enough():
    assert len(CASES) > 100
    attacks: list[Callable[[Path], None]] = [case.attack for case in CASES.values()]
    assert len(set(attacks)) == len(CASES)

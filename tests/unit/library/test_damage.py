"""Damage of a library's files, planted or random: one line of advice, never a wrong answer."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.command_line import invoke
from tests.refusals import refused
from tests.unit.library import hostile as h
from tests.unit.library.fakes import FakeModel, store_of, tiny_video
from vlar.apps.cli import inputs
from vlar.errors import LibraryError, LibraryLockedError
from vlar.library.library import Library
from vlar.library.store import schema
from vlar.library.store.trust import writer_lock


@pytest.fixture
def folder(tmp_path: Path, model: FakeModel, clips: list[Path]) -> Path:
    with Library(tmp_path / "l.vlar", model) as library:
        library.add(clips)
    return tmp_path / "l.vlar"


def one_line(error: pytest.ExceptionInfo[LibraryError], *words: object) -> None:
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message


def test_absent(tmp_path: Path):
    error = refused(LibraryError, "", Library, tmp_path / "no.vlar", create=False)
    one_line(error, tmp_path / "no.vlar", "vlar index add")
    assert not (tmp_path / "no.vlar").exists()


def test_opening_a_new_library_makes_nothing(tmp_path: Path):
    library = Library(tmp_path / "new.vlar")
    assert library.videos() == []
    assert library.info().rows == 0
    refused(LibraryError, "empty", library.query, "a cat", min_probability=0)
    assert not (tmp_path / "new.vlar").exists()


def test_path_is_a_file(clips: list[Path]):
    error = refused(LibraryError, "", Library, clips[0])
    one_line(error, clips[0], "is a file")


def test_folder_of_other_things_is_not_made_a_library(clips: list[Path]):
    # The usual slip: videos and library in the wrong order.
    for create in (True, False):
        refused(LibraryError, "not a library", Library, clips[0].parent, create=create)


@pytest.mark.parametrize("content", [b"garbage " * 5000, b"SQLite format 3\0" + b"\xff" * 9000])
def test_not_a_database(folder: Path, model: FakeModel, clips: list[Path], content: bytes):
    (folder / "library.sqlite").write_bytes(content)
    for use in (
        lambda: Library(folder).info(),
        lambda: Library(folder, model).query("a cat", min_probability=0),
    ):
        error = refused(LibraryError, "", use)
        one_line(error, folder, "library.sqlite", "restore")
    assert (folder / "library.sqlite").read_bytes() == content


def test_damaged_pages(folder: Path, model: FakeModel, clips: list[Path]):
    h.cache_of(folder).unlink(missing_ok=True)
    file = folder / "library.sqlite"
    content = bytearray(file.read_bytes())
    for at in range(16384, len(content), 4096):
        content[at : at + 64] = b"\xa5" * 64
    file.write_bytes(content)
    new = tiny_video(clips[0].with_name("new.mp4"), 60)
    for use in (
        lambda: Library(folder).info(),
        lambda: Library(folder).videos(),
        lambda: Library(folder, model).query("a cat", min_probability=0),
        lambda: Library(folder, model).add(new),
    ):
        error = refused(LibraryError, "", use)
        one_line(error, folder, "damaged")


def test_cut_off_file(folder: Path, model: FakeModel):
    file = folder / "library.sqlite"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(LibraryError, match="damaged"), Library(folder, model) as library:
        library.query("a cat", min_probability=0)


def test_vector_of_wrong_length(folder: Path, model: FakeModel, caplog: pytest.LogCaptureFixture):
    with sqlite3.connect(folder / "library.sqlite") as database:
        database.execute("UPDATE rows SET vector = x'0000' WHERE id = 7")
    database.close()
    with Library(folder, model) as library:
        assert library.query("a cat", 20, min_probability=0)
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "row 7" in line
    assert "2 bytes, not 48" in line


def test_manifest_with_a_hole(folder: Path, model: FakeModel):
    with sqlite3.connect(folder / "library.sqlite") as database:
        database.execute("DELETE FROM meta WHERE key = 'dim'")
    database.close()
    refused(LibraryError, "dim", Library(folder, model).query, "a cat", min_probability=0)


def test_database_of_another_program(folder: Path):
    file = folder / "library.sqlite"
    file.unlink()
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE notes (text)")
    database.close()
    refused(LibraryError, "another program", Library, folder)


def test_newer_format_is_refused_untouched(folder: Path, model: FakeModel, clips: list[Path]):
    file = folder / "library.sqlite"
    with sqlite3.connect(file) as database:
        database.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    database.close()
    before = file.read_bytes()
    error = refused(LibraryError, "", Library, folder, model)
    one_line(error, folder, "newer", "upgrade")
    assert file.read_bytes() == before


def test_older_format_is_brought_up_to_date(
    folder: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
):
    step = ("CREATE TABLE later (x)", "INSERT INTO meta VALUES ('later', 'yes')")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
    with Library(folder, model) as library:
        store = store_of(library)
        assert store.meta()["later"] == "yes"
        assert len(library.query("a cat", 5, min_probability=0)) == 5


def test_a_failed_migration_changes_nothing(
    folder: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
):
    step = ("CREATE TABLE later (x)", "INSERT INTO nowhere VALUES (1)")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
        patch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
        refused(LibraryError, "", Library, folder, model)
    assert len(Library(folder, model).query("a cat", 5, min_probability=0)) == 5


def test_interrupted_creation(tmp_path: Path, model: FakeModel, clips: list[Path]):
    folder = tmp_path / "half.vlar"
    folder.mkdir()
    (folder / "library.sqlite").touch()
    with Library(folder, model) as library:
        assert library.videos() == []
        assert library.add(clips).added == 5
        assert len(library.videos()) == 5


def test_second_writer_is_refused_and_readers_are_not(
    folder: Path, model: FakeModel, clips: list[Path]
):
    with writer_lock(folder):
        assert [file.name for file in folder.glob("writer*")] == ["writer.lock"]
        error = refused(LibraryLockedError, "", Library(folder, model).add, clips)
        one_line(error, folder, "another process")
        refused(LibraryLockedError, "", Library(folder, model).remove, clips[0])
        assert len(Library(folder, model).query("a cat", 5, min_probability=0)) == 5
    assert Library(folder, model).add(clips).unchanged == 5


def test_a_reader_beside_a_writer_sees_whole_videos(folder: Path, clips: list[Path]):
    long = tiny_video(clips[0].with_name("long.mp4"), 9, seconds=80)
    inside, go_on = threading.Event(), threading.Event()

    class Waiting(FakeModel):
        def encode(self, clips):
            if self.encoded >= 16:
                inside.set()
                assert go_on.wait(20)
            return super().encode(clips)

    writer = threading.Thread(target=lambda: Library(folder, Waiting()).add(long))
    writer.start()
    try:
        assert inside.wait(20)
        with Library(folder, FakeModel()) as reader:
            assert reader.info().rows == 15
            assert len(reader.query("a cat", 100, min_probability=0)) <= 15
            refused(LibraryLockedError, "", reader.remove, clips[0])
            go_on.set()
            writer.join()
            assert reader.info().rows == 15 + 39
    finally:
        go_on.set()
        writer.join()


@pytest.fixture(params=["cache", "no cache"])
def read_only(folder: Path, model: FakeModel, request: pytest.FixtureRequest) -> Path:
    with Library(folder, model) as library:
        library.query("a cat", min_probability=0)
    if request.param == "no cache":
        h.cache_of(folder).unlink()
    for path in [*folder.iterdir(), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    request.getfixturevalue("ordinary_user")
    return folder


def test_read_only_disk(read_only: Path, model: FakeModel, clips: list[Path]):
    with Library(read_only, model) as library:
        assert len(library.query("a cat", 5, min_probability=0)) == 5
        assert len(library.videos()) == 5
        for change in (
            lambda: library.add(clips, tags={"a": "b"}),
            lambda: library.remove(clips[0]),
        ):
            error = refused(LibraryError, "", change)
            one_line(error, read_only, "read-only")
        assert len(library.query("a cat", 5, min_probability=0)) == 5


def test_read_only_disk_with_commits_still_in_the_log(
    tmp_path: Path, model: FakeModel, clips: list[Path], request: pytest.FixtureRequest
):
    # A killed writer leaves its log behind; a copy of the folder without the shared-memory file
    # cannot be read in place, and must not answer without those commits.
    with Library(tmp_path / "l.vlar", model) as library:
        library.add(clips[:2])
        store = store_of(library)
        with store.snapshot():
            store.row_count()
            library.add(clips[2:])
            shutil.copytree(tmp_path / "l.vlar", tmp_path / "copy.vlar")
    copy = tmp_path / "copy.vlar"
    (copy / "library.sqlite-shm").unlink()
    assert (copy / "library.sqlite-wal").stat().st_size > 0
    copy.chmod(0o555)
    request.getfixturevalue("ordinary_user")
    error = refused(LibraryError, "", Library, copy, model)
    one_line(error, copy, "writable disk")


def test_place_that_cannot_be_written(
    tmp_path: Path, model: FakeModel, clips: list[Path], request: pytest.FixtureRequest
):
    place = tmp_path / "closed"
    place.mkdir(mode=0o555)
    request.getfixturevalue("ordinary_user")
    error = refused(LibraryError, "", Library(place / "l.vlar", model).add, clips)
    one_line(error, place / "l.vlar", "cannot be created")


def test_no_permission_to_read(folder: Path, request: pytest.FixtureRequest):
    (folder / "library.sqlite").chmod(0)
    request.getfixturevalue("ordinary_user")
    error = refused(LibraryError, "", Library, folder)
    one_line(error, folder, "permissions")


@pytest.mark.slow
def test_disk_full_says_what_was_kept(
    tmp_path: Path, model: FakeModel, clips: list[Path], monkeypatch: pytest.MonkeyPatch
):
    open_writer = schema.open_writer

    def small_disk(file: Path) -> sqlite3.Connection:
        connection = open_writer(file)
        connection.execute("PRAGMA max_page_count = 13").fetchone()
        return connection

    many = [tiny_video(tmp_path / "many" / f"{i}.mp4", i, seconds=400) for i in range(4)]
    folder = tmp_path / "l.vlar"
    with monkeypatch.context() as patch, Library(folder, model) as library:
        patch.setattr(schema, "open_writer", small_disk)
        error = refused(LibraryError, "", library.add, [*clips, *many])
        kept = len(library.videos())
        assert 5 <= kept < 9
        one_line(error, folder, "full", f"{kept} of the 9 videos")
        assert library.info().rows == 15 + (kept - 5) * 199
    assert Library(folder, model).add([*clips, *many]).unchanged == kept
    assert len(Library(folder, model).videos()) == 9


ASKED = ("query", "operators", "tag", "nearest", "list", "info", "verify", "compact")


DAMAGE = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=12
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = h.made(tmp_path_factory.mktemp("made") / "l.vlar")
    h.sql("PRAGMA wal_checkpoint(TRUNCATE)")(folder)
    return folder


def changed(file: Path, damage: list[tuple[float, int]], skipped: int = 0) -> None:
    """Change bytes at shares of the used part of a file, each by an exclusive or."""
    content = bytearray(file.read_bytes())
    used = [at for at in range(skipped, len(content)) if content[at]] or [0]
    for share, bits in damage:
        content[used[int(share * len(used))]] ^= bits
    file.write_bytes(content)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damage=DAMAGE, name=st.sampled_from([schema.FILE_NAME, "cache"]))
@example(damage=[(0.5, 0x40)], name=schema.FILE_NAME)
def test_a_changed_library_gives_results_or_one_line(
    original: Path, damage: list[tuple[float, int]], name: str
):
    with tempfile.TemporaryDirectory() as place:
        folder = h.copied(original, Path(place) / "l.vlar")
        file = h.cache_of(folder) if name == "cache" else folder / name
        changed(file, damage, skipped=100 if name == schema.FILE_NAME else 0)
        for verb in ASKED:
            h.used(folder, verb)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damage=DAMAGE)
def test_the_command_line_never_prints_a_traceback(
    original: Path, monkeypatch: pytest.MonkeyPatch, damage: list[tuple[float, int]]
):
    monkeypatch.setattr(inputs, "load_model", lambda *_: FakeModel())
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "l.vlar"
        shutil.copytree(original, folder)
        changed(folder / schema.FILE_NAME, damage, skipped=100)
        for arguments in (
            ["query", str(folder), "a cat", "--min-probability", "0"],
            ["index", "list", str(folder)],
            ["index", "verify", str(folder), "--repair"],
            ["index", "verify", str(folder)],
        ):
            done = invoke(arguments)
            assert done.exit_code in (0, 1, 2)
            assert "Traceback" not in done.output
            assert "unexpected" not in done.output, done.output

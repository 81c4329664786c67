"""The search cache in the user's cache folder: whose it is, and what a library does without it."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.unit.library import hostile as h
from tests.unit.library.fakes import FakeModel
from vlar.library import cache
from vlar.library.ingest.shard_reading import VectorVideo
from vlar.library.library import Library
from vlar.library.rows import RowHit
from vlar.library.store import schema
from vlar.library.store.sqlite import SqliteStore
from vlar.numeric import unit
from vlar.types import Float32, Hit, Window


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, which is not there yet."""
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_SAID_FROM", 1)
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return h.made(tmp_path / "l.vlar")


def ask(folder: Path) -> list[Hit]:
    with Library(folder, FakeModel(), create=False) as library:
        return library.query("a cat", 50, min_probability=0)


def state(folder: Path) -> str:
    with Library(folder, create=False) as library:
        return library.info().cache_state


def test_it_is_the_users_own(folder: Path, place: Path):
    assert not list(folder.glob("*faiss*"))
    (file,) = (place / cache.FOLDER).iterdir()
    assert file == h.cache_of(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    with Library(folder) as library:
        own = sum(each.stat().st_size for each in folder.iterdir())
        assert library.info().bytes_on_disk >= own + file.stat().st_size


@pytest.mark.parametrize("garbage", [False, True])
def test_an_old_one_is_removed_once(folder: Path, garbage: bool, caplog: pytest.LogCaptureFixture):
    expected, old = ask(folder), folder / cache.OLD_NAME
    shutil.move(h.cache_of(folder), old)
    if garbage:
        old.write_bytes(b"\x07" * 9000)
    (folder / ".ann-x.tmp").write_bytes(b"half")
    with caplog.at_level("INFO", "vlar"):
        assert ask(folder) == expected
        lines = [record.getMessage() for record in caplog.records]
        assert lines == [
            "building the search index (flat) of 12 rows, about 1 s; the next query finds it ready",
            f"{old} was removed: the search index lies in {h.cache_of(folder).parent} now",
        ]
        caplog.clear()
        assert ask(folder) == expected
        assert caplog.records == []
    assert not list(folder.glob("*ann*"))


def test_a_renamed_library_keeps_it_and_a_copy_has_none(folder: Path, tmp_path: Path):
    expected = ask(folder)
    folder = folder.rename(tmp_path / "other.vlar")
    assert state(folder) == "fresh"
    copy = shutil.copytree(folder, tmp_path / "copy.vlar")
    assert state(copy) == "absent"
    assert ask(copy) == expected
    assert (state(copy), state(folder)) == ("fresh", "fresh")


def test_a_copy_that_went_another_way_has_its_own(folder: Path, tmp_path: Path):
    copy = shutil.copytree(folder, tmp_path / "copy.vlar")
    origins: list[cache.Origin] = []
    for number, each in ((1, folder), (2, copy)):
        with Library(each, FakeModel()) as library:
            library.add_vectors([h._vector_video(number)])
            assert library.nearest(h.one_row(number)[0], 1)[0].path == f"/new/{number}.mp4"
        store = SqliteStore.open_to_read(each)
        assert store is not None
        origins.append(cache.Origin.of(store))
        store.close()
    assert origins[0] == origins[1]  # nothing but the place of the cache tells them apart
    for number, each in ((1, folder), (2, copy)):
        with Library(each, FakeModel()) as library:
            assert library.nearest(h.one_row(number)[0], 1)[0].path == f"/new/{number}.mp4"


@pytest.mark.parametrize("closed", ["library", "cache", "both", "a file"])
def test_without_permission_it_answers_from_memory(
    closed: str,
    folder: Path,
    place: Path,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
):
    expected = ask(folder)
    shutil.rmtree(place)
    if closed == "a file":
        place.write_bytes(b"")
    else:
        place.mkdir(mode=0o555 if closed != "library" else 0o777)
        place.chmod(place.stat().st_mode | (0o022 if closed == "library" else 0))
    if closed in ("library", "both"):
        for each in [*folder.iterdir(), folder]:
            each.chmod(0o555 if each.is_dir() else 0o444)
    request.getfixturevalue("ordinary_user")
    for _ in range(2):
        caplog.clear()
        assert ask(folder) == expected
        lines = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert len(lines) == (closed != "library")
        assert all("VLAR_CACHE" in line and "\n" not in line for line in lines)
    assert state(folder) == ("fresh" if closed == "library" else "absent")


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_folder_that_others_may_write_to_is_not_read(
    folder: Path, place: Path, caplog: pytest.LogCaptureFixture
):
    expected = ask(folder)
    (place / cache.FOLDER).chmod(0o777)
    assert state(folder) == "unreadable"
    assert ask(folder) == expected
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "other users may write to it" in line
    (place / cache.FOLDER).chmod(0o700)
    assert state(folder) == "fresh"


def test_several_at_once(folder: Path, tmp_path: Path, place: Path):
    expected = ask(folder)
    shutil.rmtree(place)
    found: list[list[Hit]] = []
    threads = [threading.Thread(target=lambda: found.append(ask(folder))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 6
    assert [file.suffix for file in (place / cache.FOLDER).iterdir()] == [".faiss"]


def test_the_oldest_go(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch):
    folders = [h.made(tmp_path / f"{n}.vlar", seed=n) for n in range(3)]
    for age, each in enumerate(folders):
        os.utime(h.cache_of(each), (1e9 + age, 1e9 + age))
    assert state(folders[0]) == "fresh"  # used now, so 1 is the oldest
    size = h.cache_of(folders[0]).stat().st_size
    monkeypatch.setenv("VLAR_CACHE_LIMIT", f"{3.5 * size / cache._LIMIT / 1e3}K")
    last = h.made(tmp_path / "last.vlar", seed=9)
    assert [state(each) for each in (*folders, last)] == ["fresh", "absent", "fresh", "fresh"]
    monkeypatch.setenv("VLAR_CACHE_LIMIT", "0B")
    last = h.made(tmp_path / "more.vlar", seed=10)
    assert [file.name for file in (place / cache.FOLDER).iterdir()] == [h.cache_of(last).name]


def test_a_small_library_is_written_again_for_more_than_three_percent(tmp_path: Path):
    folder = tmp_path / "l.vlar"
    with Library(folder, FakeModel()) as library:
        library.add_vectors(h._vector_video(number) for number in range(100))
        library.query("a cat", min_probability=0)
        seen: list[tuple[int, int]] = []
        for number in range(100, 105):
            library.add_vectors([h._vector_video(number)])
            found = library.nearest(h.one_row(number)[0], 1)
            assert found[0].path == f"/new/{number}.mp4"
            seen.append((library.info().waiting_added, h.cache_of(folder).stat().st_ino))
    waiting, files = zip(*seen, strict=True)
    assert waiting == (1, 2, 3, 0, 1)
    assert files[0] == files[2] != files[3] == files[4]


def test_a_text_is_encoded_while_others_read(folder: Path):
    class Slow(FakeModel):
        def encode_queries(self, texts: Sequence[str]) -> Float32:
            begun.set()
            assert read.wait(20)
            return super().encode_queries(texts)

    begun, read, hits = threading.Event(), threading.Event(), list[Hit]()
    with Library(folder, Slow()) as library:
        asking = threading.Thread(
            target=lambda: hits.extend(library.query("a cat", min_probability=0))
        )
        asking.start()
        assert begun.wait(20)
        assert len(library.videos()) == h.VIDEOS
        read.set()
        asking.join(20)
    assert hits


def test_a_cache_of_later_rows_is_not_used_after_a_restore_in_place(folder: Path):
    def added(seed: int) -> RowHit:
        vectors = unit(np.random.default_rng(seed).normal(size=(3, h.DIM))).astype(np.float32)
        windows = [Window(2.0 * i, 2.0 * i + 4) for i in range(3)]
        with Library(folder, FakeModel()) as library:
            library.add_vectors([VectorVideo("/example/new.mp4", windows, vectors)])
            return library.nearest(vectors[0], 1)[0]

    database = folder / "library.sqlite"
    whole = database.read_bytes()
    assert added(1).similarity > 0.99
    for log in folder.glob("library.sqlite-*"):
        log.unlink()
    database.write_bytes(whole)  # the cache of the rows that are gone stays
    assert added(2).similarity > 0.99


def test_verify_names_a_cache_of_other_rows(folder: Path):
    with Library(folder, FakeModel()) as library:
        assert not library.verify(files=False)
    with h.database(folder) as connection:  # as another history would have left the last row
        (blob,) = connection.execute("SELECT vector FROM rows WHERE id = 11").fetchone()
        start, end = connection.execute("SELECT start_s, end_s FROM rows WHERE id = 12").fetchone()
        connection.execute(
            "UPDATE rows SET vector = ?, checksum = ? WHERE id = 12",
            (blob, schema.row_checksum(start, end, blob)),
        )
    assert state(folder) == "stale"
    with Library(folder, FakeModel()) as library:
        assert [fault.kind for fault in library.verify(files=False)] == ["cache"]
        library.query("a cat", min_probability=0)
        assert not library.verify(files=False)

"""A library in Milvus whose model changes: a writer that ends at any write, and readers."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

from tests.unit.library.fakes import store_of, tiny_video
from tests.unit.library.maintain.test_upgrade import PartModel
from tests.unit.plugins.milvus.conftest import LiteServer
from tests.unit.plugins.milvus.test_crash import Calls, Ended
from vlar.errors import EncoderMismatchError, LibraryError, LibraryLockedError
from vlar.library.address import place_of
from vlar.library.library import Library
from vlar.library.maintain import lazy_upgrade
from vlar.library.rows import RowFilter
from vlar.library.store.base import SnapshotMovedError
from vlar.plugins.milvus import layout
from vlar.plugins.milvus.client import MilvusConnection

ROWS, TAUGHT = 24, 16
WRITES = ("upsert", "delete", "delete_where", "create", "drop")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("change")
    clips = [tiny_video(folder / "videos" / f"{i}.mp4", i) for i in range(8)]
    with Library(f"milvus:{folder / 'm.db'}/l", PartModel(0)) as library:
        library.add(clips)
    return folder / "m.db"


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_upgrade, "_SAMPLE", (TAUGHT, TAUGHT))


@pytest.fixture
def address(made: Path, tmp_path: Path) -> str:
    shutil.copytree(made, tmp_path / "m.db")
    return f"milvus:{tmp_path / 'm.db'}/l"


def later() -> PartModel:
    return PartModel(1, base="two")


def collections(address: str) -> set[str]:
    with contextlib.closing(MilvusConnection(place_of(address))) as connection:  # type: ignore[arg-type]
        return connection.collections()


def end_at(address: str, last: int, *, applied: bool) -> bool:
    """End a change at one write, look as a reader, then finish; returns whether it had ended."""
    with pytest.MonkeyPatch.context() as patch:
        calls = Calls(patch, last, applied=applied, names=WRITES)
        library = Library(address, later())
        with contextlib.suppress(Ended):
            library.upgrade(lazy=True)
            library.upgrade(minutes=5)
        library.close()
    with Library(address) as reader:
        store = store_of(reader)
        changed = store.meta()["fingerprint"] == later().fingerprint
        mapped = len(store.mapped())
        assert mapped <= (ROWS - TAUGHT if changed else 0)
        assert reader.verify(files=False) == []
    with Library(address, later() if changed else PartModel(0)) as reader:
        hits = reader.query("anything", k=50, min_probability=0)
        assert len(reader.all_rows().table) == ROWS
        assert sum(hit.origin == "mapped" for hit in hits) <= mapped
        assert {hit.origin for hit in hits} <= (
            {"mapped", "encoded"} if mapped else {"", "encoded"}
        )
    with Library(address, later()) as library:
        if not changed:
            assert library.upgrade(lazy=True).mapped == ROWS - TAUGHT
        elif "mapping" in store_meta(library):
            assert library.upgrade().mapped == 0
        assert library.verify(files=False) == []
    return calls.over


def store_meta(library: Library) -> dict[str, str]:
    return {key: value for key, value in store_of(library).meta().items() if value}


def test_a_change_that_ends_before_and_after_its_switch(address: str):
    assert end_at(address, 14, applied=True)
    names = collections(address)
    assert len(names) == 4
    assert "l" not in names


@pytest.mark.slow
@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("last", range(32))
def test_a_change_ended_at_any_write(address: str, last: int, applied: bool):
    end_at(address, last, applied=applied)
    assert len(collections(address)) == 4


@pytest.mark.slow
@pytest.mark.parametrize("is_written", [False, True])
def test_what_a_killed_change_encoded_is_used_unless_somebody_wrote(
    address: str, tmp_path: Path, is_written: bool
):
    with pytest.MonkeyPatch.context() as patch:
        Calls(patch, 8, applied=True, names=WRITES)
        library = Library(address, later())
        refused(Ended, "", library.upgrade, lazy=True)
        library.close()
    if is_written:
        with Library(address, PartModel(0)) as library:
            library.add(tiny_video(tmp_path / "new.mp4", 9))
    assert len(collections(address)) == (4 if is_written else 5)
    model = later()
    with Library(address, model) as library:
        library.upgrade(lazy=True)
        taken = len(model.encoder.calls)
        assert taken == TAUGHT if is_written else 0 < taken < TAUGHT


def test_one_command_changes_and_encodes_all_and_an_earlier_vlar_refuses(
    address: str, monkeypatch: pytest.MonkeyPatch
):
    with Library(address, later()) as library:
        report = library.upgrade()
        assert (report.rows, report.mapped) == (ROWS - TAUGHT, 0)
        assert library.info().format == 2
        assert library.upgrade().rows == 0
    monkeypatch.setattr(layout, "FORMAT", 1)
    refused(LibraryError, "made by a newer vlar", Library, address)


def test_a_manifest_that_names_a_collection_of_others_is_refused(address: str):
    with contextlib.closing(MilvusConnection(place_of(address))) as connection:  # type: ignore[arg-type]
        layout.opened(connection)
        connection.rows = "others"
        connection.upsert(connection.records, [layout.manifest_record(connection, {})])
    refused(LibraryError, "its collection 'others' was made by something else", Library, address)


@pytest.fixture
def shared(server: LiteServer, tmp_path: Path) -> str:
    clips = [tiny_video(tmp_path / "videos" / f"{i}.mp4", i) for i in range(8)]
    with Library(server.address(), PartModel(0)) as library:
        library.add(clips)
    return server.address()


@pytest.mark.slow
def test_a_reader_meets_a_change_and_encoded_rows(shared: str):
    with Library(shared, PartModel(0)) as reader, Library(shared, later()) as other:
        store = store_of(reader)

        def read_while_it_changes() -> None:
            with store.snapshot():
                assert store.mapped() == set()
                other.upgrade(lazy=True)
                list(store.scan(PartModel(0).dim, RowFilter()))

        refused(SnapshotMovedError, "again", read_while_it_changes)
        refused(EncoderMismatchError, "upgrade", reader.query, "anything")
        assert len(reader.all_rows().table) == ROWS
        dim = later().dim
        with store.snapshot():
            mapped = store.mapped()
            rows = store.rows(sorted(mapped), dim)
            other.upgrade(minutes=5)
            assert store.mapped(rows.ids.tolist()) == mapped  # as their vectors were read
        assert store.mapped() == set()
        with store.snapshot():
            again = store.rows(sorted(mapped), dim)
        assert np.abs(again.vectors - rows.vectors).max() > 1e-3
        with other._connection.writing():
            refused(LibraryLockedError, "is writing", Library(shared, later()).upgrade, lazy=True)


@pytest.mark.slow
def test_a_damaged_row_is_left_out_and_its_recording_read_again(
    address: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lazy_upgrade, "_SAMPLE", (20, 20))  # it may be among them
    with contextlib.closing(MilvusConnection(place_of(address))) as connection:  # type: ignore[arg-type]
        layout.opened(connection)
        row = connection.first("l", "id > 0", layout.ROW_FIELDS, 1)[0]
        connection.upsert("l", [{**row, "checksum": 1}])
    with Library(address, later()) as library:
        library.upgrade(lazy=True)
        assert [fault.kind for fault in library.verify(files=False)] == ["incomplete"]
        assert len(library.all_rows().table) == ROWS - 1
        clips = [Path(row.path) for row in library.videos()]
        assert library.add(clips).updated == 1
        assert library.verify(files=False) == []
        assert len(library.all_rows().table) == ROWS

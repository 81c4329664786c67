"""A writer of Milvus that ends at any moment: every recording whole or not there, nothing twice."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

from tests.contract.test_backends import video
from tests.unit.library.fakes import FakeModel
from vlar.errors import LibraryError
from vlar.library.library import Library
from vlar.plugins.milvus.client import MilvusConnection
from vlar.plugins.milvus.state import State

WRITES = ("upsert", "delete", "delete_where")


class Ended(BaseException):
    """The process ends here."""


class Calls:
    """Counts the writes of all connections; from the one with a number on, none comes through.

    Args:
        monkeypatch: Of the test.
        last: The number of the write that ends the process, counted from 0.
        applied: Whether Milvus still carries that write out.
        names: The methods that write.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        last: int,
        *,
        applied: bool,
        names: tuple[str, ...] = WRITES,
    ) -> None:
        self.count, self.last, self.applied = 0, last, applied
        for name in names:
            monkeypatch.setattr(MilvusConnection, name, self._counted(name))

    @property
    def over(self) -> bool:
        return self.count > self.last

    def _counted(self, name: str):
        real = getattr(MilvusConnection, name)

        def call(connection: MilvusConnection, *args: object) -> None:
            number, self.count = self.count, self.count + 1
            if number > self.last:
                raise Ended
            if number < self.last or self.applied:
                real(connection, *args)
            if number == self.last:
                raise Ended

        return call


def contents(library: Library) -> dict[str, int]:
    """Rows of each recording as its record says, as a scan finds, and as a search finds."""
    listed = {row.path: row.windows for row in library.videos()}
    if not listed:
        return {}
    table = library.all_rows()
    scanned: dict[str, int] = {}
    for video_id in table.table.video_ids.tolist():
        path = table.paths[video_id]
        scanned[path] = scanned.get(path, 0) + 1
    found: dict[str, int] = {}
    for hit in library.nearest(np.eye(24, dtype=np.float32)[0], 10_000):
        found[hit.path] = found.get(hit.path, 0) + 1
    assert listed == scanned == found
    return listed


def left_behind(address: str) -> int:
    """Rows in Milvus of versions that no recording has."""
    from vlar.library.address import place_of

    connection = MilvusConnection(place_of(address))  # type: ignore[arg-type]
    try:
        connection.load(connection.rows)
        connection.load(connection.records)
        assert not State.read(connection).busy
        pages = connection.pages(connection.records, 'kind == "video"', ["version"])
        alive = {each["version"] for page in pages for each in page}
        rows = connection.pages(connection.rows, "id > 0", ["version"])
        return sum(each["version"] not in alive for page in rows for each in page)
    finally:
        connection.close()


def change(library: Library) -> None:
    """Replaces a recording, adds one, deletes one, moves one to the path of another."""
    from vlar.library.store.annotations import Caption

    with library._connection.writing() as writer:
        with writer.transaction():
            for each in (video("/v/a", 5, 7), video("/v/new", 4, 8)):
                video_id = writer.put_video(each.path, f"new {each.path}", _stamp(), 9.0)
                writer.insert_rows(video_id, each.windows, each.vectors)
                writer.annotate(Caption, video_id, [Caption(0.0, 4.0, "text", "maker")])
            writer.delete([writer.at_path("/v/b").id])
        with writer.transaction():
            writer.update(writer.at_path("/v/c").id, path="/v/d", stamp=_stamp())


def _stamp():
    from vlar.library.store.values import Stamp

    return Stamp(1, 2)


BEFORE = {"/v/a": 3, "/v/b": 3, "/v/c": 2, "/v/d": 1}
AFTER = {"/v/a": 5, "/v/new": 4, "/v/d": 2}


def made(folder: Path) -> str:
    address = f"milvus:{folder / 'm.db'}/l"
    with Library(address, FakeModel()) as library:
        library.add_vectors(video(path, n, n) for path, n in BEFORE.items())
    return address


def ends() -> Iterator[tuple[int, bool]]:
    for last in range(16):
        for applied in (False, True):
            yield last, applied


def test_a_change_that_is_not_ended_is_complete(tmp_path: Path):
    address = made(tmp_path)
    with Library(address, FakeModel()) as library:
        assert contents(library) == BEFORE
        change(library)
        assert contents(library) == AFTER
        assert library.verify(files=False) == []
    assert left_behind(address) == 0


@pytest.mark.parametrize(("last", "applied"), [(4, True), (5, False)])
def test_an_ended_writer(tmp_path: Path, last: int, applied: bool):
    end_at(tmp_path, last, applied)


@pytest.mark.slow
@pytest.mark.parametrize(("last", "applied"), ends())
def test_a_writer_ended_at_any_write(tmp_path: Path, last: int, applied: bool):
    end_at(tmp_path, last, applied)


def end_at(folder: Path, last: int, applied: bool) -> None:
    """End the writer at one write; look as a reader, then write again."""
    address = made(folder)
    with pytest.MonkeyPatch.context() as patch:
        calls = Calls(patch, last, applied=applied)
        library = Library(address, FakeModel())
        with contextlib.suppress(Ended):
            change(library)
        library.close()
    with Library(address, FakeModel()) as reader:
        seen = contents(reader)
        for path, n in seen.items():
            assert n in (BEFORE.get(path), AFTER.get(path)), (path, n)
        assert set(BEFORE) & set(AFTER) <= set(seen) | {"/v/d"}
        if not calls.over:
            assert seen == AFTER
        reader.add_vectors([video("/v/last", 1)])
        assert contents(reader) == {**seen, "/v/last": 1}
        assert reader.verify(files=False) == []
    assert left_behind(address) == 0


@pytest.mark.slow
def test_a_control_without_the_intent_shows_rows(tmp_path: Path):
    """Rows of a version that no state names would be found: the filter is what hides them."""
    address = made(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        Calls(patch, 3, applied=True)  # lease, state, rows
        library = Library(address, FakeModel())
        refused(Ended, "", change, library)
        library.close()
    with Library(address, FakeModel()) as reader:
        rows = reader._connection.backend.reader()
        assert rows is not None
        total = rows.connection.count("l", "id > 0")  # type: ignore[attr-defined]
        rows.close()
        assert total > sum(BEFORE.values()) == len(reader.all_rows().table)


def test_changes_outside_of_a_transaction_are_refused(tmp_path: Path):
    with (
        Library(made(tmp_path), FakeModel()) as library,
        library._connection.writing() as writer,
        pytest.raises(LibraryError, match="outside of a transaction"),
    ):
        writer.put_video("/v/x", "hash", _stamp(), 1.0)

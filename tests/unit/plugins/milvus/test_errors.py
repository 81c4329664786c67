"""What goes wrong with Milvus ends in one line: the address, what happened, what to do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.refusals import refused

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

import pymilvus

from tests.contract.test_backends import video
from tests.unit.library.fakes import FakeModel
from tests.unit.plugins.milvus.conftest import LiteServer
from vlar.errors import EncoderMismatchError, LibraryError, LibraryLockedError, UsageError
from vlar.library.address import place_of
from vlar.library.library import Library
from vlar.library.store.base import LibraryWriter
from vlar.library.store.values import Stamp
from vlar.plugins.milvus.client import MilvusConnection, explained
from vlar.version import pip_install


def one_line(raised: pytest.ExceptionInfo[Any]) -> str:
    text = str(raised.value)
    assert "\n" not in text
    assert "Traceback" not in text
    return text


def test_no_server_there():
    raised = refused(LibraryError, "", Library, "milvus://127.0.0.1:1/gym")
    assert "no Milvus answers at milvus://127.0.0.1:1/gym" in one_line(raised)
    assert "start it" in str(raised.value)


def test_pymilvus_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    raised = refused(UsageError, "", Library, f"milvus:{tmp_path}/m.db/gym")
    assert one_line(raised).endswith(f"needs the extra milvus: {pip_install('milvus')}")


def test_milvus_lite_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "milvus_lite.server_manager", None)
    raised = refused(UsageError, "", Library, f"milvus:{tmp_path}/m.db/gym")
    assert f"not installed: {pip_install('milvus')}" in one_line(raised)


def test_another_version_of_pymilvus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(pymilvus, "__version__", "2.4.9")
    raised = refused(UsageError, "", Library, f"milvus:{tmp_path}/m.db/gym")
    assert "needs pymilvus 3 or newer, 2.4.9 is installed" in one_line(raised)


@pytest.mark.parametrize(("version", "usable"), [("v2.3.9", False), ("v2.6.1", True)])
def test_another_version_of_the_server(
    monkeypatch: pytest.MonkeyPatch, server: LiteServer, version: str, usable: bool
):
    monkeypatch.setattr(
        pymilvus.MilvusClient, "get_server_version", lambda *_args, **_more: version
    )
    if usable:
        Library(server.address()).close()
        return
    raised = refused(LibraryError, "", Library, server.address())
    assert f"Milvus at {server.address()} has version v2.3.9; this vlar needs 2.4" in one_line(
        raised
    )


def test_a_collection_of_something_else(tmp_path: Path):
    client = pymilvus.MilvusClient(str(tmp_path / "m.db"), dedicated=True)
    client.create_collection("docs", dimension=4)
    client.create_collection("gym_records", dimension=4)
    client.insert("docs", [{"id": 1, "vector": [0.1, 0.2, 0.3, 0.4]}])
    client.close()
    for name in ("docs", "gym"):
        raised = refused(LibraryError, "", Library, f"milvus:{tmp_path}/m.db/{name}", FakeModel())
        assert "is not a library of vlar" in one_line(raised)
        assert "choose another name" in str(raised.value)
    again = pymilvus.MilvusClient(str(tmp_path / "m.db"), dedicated=True)
    again.load_collection("docs")
    assert again.query("docs", ids=[1])  # it stays as it is
    again.close()


def test_a_folder_that_is_a_file(tmp_path: Path):
    (tmp_path / "m.db").write_text("of Milvus Lite 2")
    refused(LibraryError, "Milvus Lite 3 keeps a folder", Library, f"milvus:{tmp_path}/m.db/gym")


def test_a_folder_that_another_process_has_open(tmp_path: Path):
    LiteServer(tmp_path / "m.db")  # holds the lock of the folder, as another process would
    raised = refused(LibraryLockedError, "", Library, f"milvus:{tmp_path}/m.db/gym")
    assert "another process has" in one_line(raised)
    assert "milvus-lite server" in str(raised.value)


def test_vectors_of_another_width(tmp_path: Path):
    address = f"milvus:{tmp_path}/m.db/gym"
    with Library(address, FakeModel()) as library:
        library.add_vectors([video("/v/a", 3)])
        with library._connection.writing() as writer, pytest.raises(LibraryError) as raised:
            write(writer, np.eye(7, dtype=np.float32)[:1])
        assert "keeps vectors of width 24, the model gave 7" in one_line(raised)
    with Library(address, FakeModel("other", 1)) as other, pytest.raises(EncoderMismatchError):
        other.add_vectors([video("/v/c", 3)])


def test_tags_that_milvus_cannot_keep(tmp_path: Path):
    with Library(f"milvus:{tmp_path}/m.db/gym", FakeModel()) as library:
        with pytest.raises(LibraryError) as raised:
            library.add_vectors([video("/v/a", 3, tags={"note": "x" * 70_000})])
        assert "/v/a: its path and tags" in one_line(raised)
        assert library.info().videos == 0
        library.add_vectors([video("/v/a", 3, tags={"note": "é" * 9_000})])


def test_a_connection_that_is_lost_in_the_middle(server: LiteServer):
    def videos():
        for number in range(6):
            if number == 3:
                server.stop()
            yield video(f"/v/{number}", 40, number)

    library = Library(server.address(), FakeModel())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlar.plugins.milvus.client.CALL_S", 1.5)
        patch.setattr("vlar.plugins.milvus.client.BULK_S", 1.5)
        patch.setattr("vlar.library.ingest.shard_reading._ROWS_A_COMMIT", 30)
        raised = refused(LibraryError, "", library.add_vectors, videos())
        text = one_line(raised)
        assert f"lost Milvus at {server.address()}" in text
        assert "run the same command again" in text
        library.close()
        server.start()
        # gRPC waits longer after each refusal, for all channels of a process to one address.
        patch.setattr("vlar.plugins.milvus.client.CONNECT_S", 20.0)
        with Library(server.address(), FakeModel()) as again:
            assert 3 <= again.info().videos <= 4
            again.add_vectors(video(f"/v/{number}", 40, number) for number in range(6))
            assert (again.info().videos, again.info().rows) == (6, 240)
            assert len(again.nearest(np.eye(24, dtype=np.float32)[0], 1000)) == 240
            assert again.verify(files=False) == []


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("auth check failure, please check api key", "VLAR_MILVUS_TOKEN"),
        ("quota exceeded[reason=memory quota exceeded]", "memory, disk and object store"),
        ("write to storage failed: 503 SlowDown", "memory, disk and object store"),
        ("<_MultiThreadedRendezvous: StatusCode.UNAVAILABLE", "check the server"),
        ("something new\nwith a second line", "server's log"),
    ],
)
def test_what_a_server_reports(message: str, advice: str):
    error = pymilvus.MilvusException(1, message)
    text = explained(error, "milvus://h:1/gym", "read").message
    assert advice in text
    assert "milvus://h:1/gym" in text
    assert "\n" not in text


def test_upgrade_of_what_is_not_there(tmp_path: Path):
    with Library(f"milvus:{tmp_path}/m.db/gym", FakeModel()) as library:
        one_line(refused(LibraryError, "does not exist", library.upgrade))
        library.add_vectors([video("/v/a", 3)])
        assert library.upgrade().rows == 0


def test_damaged_rows_are_named_and_repaired(tmp_path: Path):
    address = f"milvus:{tmp_path}/m.db/gym"
    with Library(address, FakeModel()) as library:
        library.add_vectors([video("/v/a", 3), video("/v/b", 2, 1)])
        connection = MilvusConnection(place_of(address))  # type: ignore[arg-type]
        connection.load("gym")
        (row,) = connection.first("gym", "id > 0", ["*"], 1)
        connection.upsert("gym", [{**row, "start_s": row["start_s"] + 1.0}])
        connection.close()
        assert len(library.nearest(np.eye(24, dtype=np.float32)[0], 10)) == 4
        (fault,) = library.verify(files=False)
        assert (fault.kind, fault.ids) == ("row", (row["id"],))
        assert "its bits have changed" in fault.message
        (done,) = library.verify(files=False, repair=True)
        assert done.repaired
        assert library.verify(files=False) == []
        assert library.info().rows == 4


def write(writer: LibraryWriter, rows: np.ndarray) -> None:
    with writer.transaction():
        video_id = writer.put_video("/v/b", "h", Stamp(1, 2), 3.0)
        writer.insert_rows(video_id, video("/v/b", len(rows)).windows, rows)


@pytest.mark.parametrize(
    ("text", "wait_s"), [("milvus:many.db/rows", 300.0), ("milvus://127.0.0.1:1/rows", 20.0)]
)
def test_a_folder_with_many_rows_has_time_to_be_read(monkeypatch, text, wait_s):
    class Slow:
        """Answers when a folder is read, or a server gives up."""

        asked: float = 0.0

        def get_server_version(self, timeout: float) -> str:
            return "milvus_lite 3" if text.startswith("milvus:many") else "2.6"

        def list_collections(self, timeout: float) -> list[str]:
            self.asked = timeout
            return ["rows"]

    client = Slow()
    monkeypatch.setattr("vlar.plugins.milvus.client.connected", lambda address: client)
    monkeypatch.setattr("vlar.plugins.milvus.client.CALL_S", 20.0)
    monkeypatch.setattr("vlar.plugins.milvus.client.BULK_S", 300.0)
    address = place_of(text)
    assert not isinstance(address, Path)
    assert MilvusConnection(address).collections() == {"rows"}
    assert client.asked == wait_s

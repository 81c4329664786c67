"""Two writers of one library in Milvus; no clock of one machine is compared with another's."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

from tests.contract.test_backends import vectors, video
from tests.unit.library.fakes import FakeModel
from tests.unit.plugins.milvus.test_errors import write
from vlar.errors import LibraryLockedError
from vlar.library.address import MilvusAddress, place_of
from vlar.library.library import Library
from vlar.plugins.milvus import lease
from vlar.plugins.milvus.client import MilvusConnection
from vlar.plugins.milvus.layout import created
from vlar.plugins.milvus.lease import Lease, leased


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"milvus:{tmp_path}/m.db/l"


@pytest.fixture
def connection(address: str) -> Iterator[MilvusConnection]:
    place = place_of(address)
    assert isinstance(place, MilvusAddress)
    opened = MilvusConnection(place)
    created(opened)
    opened.load(opened.lease)
    yield opened
    opened.close()


def far(**more: object) -> Lease:
    """A lease of a process on another machine."""
    return replace(Lease.of_this_process(), host="far", boot="other", pid=7, token="far", **more)


def test_a_released_lease_is_free(connection: MilvusConnection):
    lease.write(connection, far(released=True))
    with leased(connection) as held:
        held.require()
    found = lease.read(connection)
    assert found is not None
    assert found.released


def test_a_lease_whose_number_rises_is_held(connection: MilvusConnection):
    """The refusal names the owner, and comes with its next heartbeat, not after the expiry."""
    lease.write(connection, far())
    end = threading.Event()

    def beat() -> None:
        number = 0
        while not end.wait(0.05):
            number += 1
            lease.write(connection, far(beat=number))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        begin = time.monotonic()
        with pytest.raises(LibraryLockedError, match=r"l \(process 7 on far\)"):
            leased(connection).__enter__()
        assert time.monotonic() - begin < lease.EXPIRES_S / 2
    finally:
        end.set()
        thread.join()


def test_a_lease_that_stands_still_is_taken_over_and_no_clock_is_asked(
    connection: MilvusConnection, monkeypatch: pytest.MonkeyPatch
):
    """There is only the time that passes on this machine: clocks may differ by any amount."""
    monkeypatch.setattr(lease, "EXPIRES_S", 0.2)
    passing = SimpleNamespace(monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr(lease, "time", passing)
    lease.write(connection, far())
    begin = time.monotonic()
    with leased(connection) as held:
        held.require()
    assert time.monotonic() - begin >= 0.2


def test_an_owner_on_this_machine_that_is_gone_is_replaced_at_once(connection: MilvusConnection):
    gone = replace(Lease.of_this_process(), pid=2**22 + 1, started="1")
    lease.write(connection, gone)
    begin = time.monotonic()
    with leased(connection):
        pass
    assert time.monotonic() - begin < lease.EXPIRES_S / 2


def test_a_process_of_the_same_number_is_another_one(connection: MilvusConnection):
    if not lease.Lease.of_this_process().boot:
        pytest.skip("this system does not tell when a process started")
    other = replace(Lease.of_this_process(), pid=os.getppid(), started="0")
    lease.write(connection, other)
    with leased(connection):
        pass
    living = replace(other, started=lease._started(os.getppid()))
    lease.write(connection, living)
    with pytest.raises(LibraryLockedError, match=f"process {os.getppid()} on"):
        leased(connection).__enter__()


def test_of_two_that_write_at_once_the_last_one_has_it(
    connection: MilvusConnection, monkeypatch: pytest.MonkeyPatch
):
    real = lease.write

    def and_then_another(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        real(connection, far())

    monkeypatch.setattr(lease, "write", and_then_another)
    with pytest.raises(LibraryLockedError, match="process 7 on far"):
        leased(connection).__enter__()


def test_a_writer_that_was_replaced_does_not_commit(address: str):
    with Library(address, FakeModel()) as library:
        library.add_vectors([video("/v/a", 3)])
        with library._connection.writing() as writer:
            lease.write(writer.connection, far())  # type: ignore[attr-defined]
            with pytest.raises(LibraryLockedError, match="taken over by process 7 on far"):
                write(writer, vectors(2))
            lease.write(writer.connection, far(released=True))  # type: ignore[attr-defined]
        assert [row.path for row in library.videos()] == ["/v/a"]
        assert len(library.nearest(np.eye(24, dtype=np.float32)[0], 10)) == 3


def test_a_heartbeat_raises_the_number(
    connection: MilvusConnection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    with leased(connection):
        time.sleep(0.4)
        found = lease.read(connection)
    assert found is not None
    assert found.beat >= 2

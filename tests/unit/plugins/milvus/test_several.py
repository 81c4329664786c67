"""Writers and readers of one library in Milvus: leases, wide searches, random changes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.contract.test_backends import close_to, vectors, video
from tests.refusals import refused
from tests.unit.library.fakes import DIM, FakeModel, store_of
from tests.unit.plugins.milvus.conftest import LiteServer
from tests.unit.plugins.milvus.test_errors import write
from vlar.errors import LibraryLockedError, UnknownNameError
from vlar.library.address import place_of
from vlar.library.library import Library
from vlar.library.maintain.library_copy import digest_of
from vlar.library.manifest import LibraryManifest
from vlar.library.rows import RowFilter
from vlar.library.store.base import SnapshotMovedError
from vlar.library.store.copying import copy_within
from vlar.library.store.values import Stamp
from vlar.plugins.milvus import client, layout, lease
from vlar.plugins.milvus.address import MilvusAddress
from vlar.plugins.milvus.client import MilvusConnection
from vlar.plugins.milvus.layout import created
from vlar.plugins.milvus.lease import Lease, leased

pytest.importorskip("pymilvus")

pytest.importorskip("milvus_lite")


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
        refused(LibraryLockedError, r"l \(process 7 on far\)", leased(connection).__enter__)
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
    refused(LibraryLockedError, f"process {os.getppid()} on", leased(connection).__enter__)


def test_of_two_that_write_at_once_the_last_one_has_it(
    connection: MilvusConnection, monkeypatch: pytest.MonkeyPatch
):
    real = lease.write

    def and_then_another(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        real(connection, far())

    monkeypatch.setattr(lease, "write", and_then_another)
    refused(LibraryLockedError, "process 7 on far", leased(connection).__enter__)


def test_a_writer_that_was_replaced_does_not_commit(address: str):
    with Library(address, FakeModel()) as library:
        library.add_vectors([video("/v/a", 3)])
        with library._connection.writing() as writer:
            lease.write(writer.connection, far())  # type: ignore[attr-defined]
            refused(LibraryLockedError, "taken over by process 7 on far", write, writer, vectors(2))
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


QUERY = vectors(1, 99)[0]


def test_a_scan_whose_rows_are_removed_is_made_again(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client, "_MOST_BATCH", 64)
    with Library(address, FakeModel()) as library, Library(address, FakeModel()) as other:
        library.add_vectors(video(f"/v/{n}", 40, n) for n in range(4))
        store = store_of(library)
        with store.snapshot():
            batches = store.scan(DIM, RowFilter())
            next(batches)
            other.remove("/v/3")
            refused(SnapshotMovedError, "run the command again", list, batches)
        seen = []

        def ask(_: None) -> int:
            rows = sum(len(batch.ids) for batch in _while_changed(store, other, seen))
            seen.append(rows)
            return rows

        assert library._connection.scanned(store, ask) == 80
        assert len(seen) == 1  # the first try raised


def _while_changed(store, other: Library, seen: list[int]):
    batches = store.scan(DIM, RowFilter())
    yield next(batches)
    if not seen:
        other.remove("/v/2")
        seen_before = other.info().rows
        assert seen_before == 80 or not seen_before
    yield from batches


def test_rows_that_come_meanwhile_are_not_in_the_snapshot(address: str):
    with Library(address, FakeModel()) as library, Library(address, FakeModel()) as other:
        library.add_vectors([video("/v/a", 3)])
        store = store_of(library)
        with store.snapshot():
            assert store.counts()[1] == 3
            other.add_vectors([video("/v/b", 5)])
            cache = library._connection.backend.search_cache(store, None, None)
            ids, _ = cache.engine.search(QUERY, 100)
            assert len(ids) == 3
            assert cache.engine.count() == 3
        assert len(library.nearest(QUERY, 100)) == 8


def test_more_rows_than_milvus_gives_at_once(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vlar.plugins.milvus.backend.MOST_HITS", 50)
    monkeypatch.setattr("vlar.plugins.milvus.rows.MOST_HITS", 50)
    monkeypatch.setattr("vlar.plugins.milvus.rows._LISTED", 3)
    with Library(address, FakeModel()) as library:
        library.add_vectors(video(f"/v/{n}", 20, n, tags={"odd": str(n % 2)}) for n in range(16))
        stored = library.all_rows().vectors
        order = np.argsort(-(stored @ QUERY))
        for k in (40, 60, 1000):
            hits = library.nearest(QUERY, k)
            best = (stored @ QUERY)[order][:k]
            assert np.allclose([h.similarity for h in hits], best, atol=2e-3)
            assert len(hits) == min(k, 320)
        assert len(library.nearest(QUERY, 30, where=["odd=1"])) == 30
        assert len(library.nearest(QUERY, 1000, where=["odd=1"])) == 160


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_an_approximate_index_gives_as_many_rows_and_the_same_scores(address: str, kind: str):
    with Library(address, FakeModel()) as library:
        library.add_vectors(video(f"/v/{n}", 50, n) for n in range(12))
        exact = library.nearest(QUERY, 10)
        report = library.compact(kind=kind)
        assert (report.engine, report.trained) == (f"milvus {kind}", True)
        assert library.info().engine == f"milvus {kind}"
        found = library.nearest(QUERY, 10)
        shared = {(h.path, h.start_s): h.similarity for h in exact}
        both = [(h.similarity, shared[h.path, h.start_s]) for h in found
                if (h.path, h.start_s) in shared]  # fmt: skip
        assert len(both) >= 8
        assert np.allclose(*zip(*both, strict=True), rtol=0, atol=1e-6)
        assert len(library.nearest(QUERY, 600)) == 600
        assert library.compact(kind="auto").engine == "milvus flat"
        with pytest.raises(UnknownNameError, match="index type of Milvus"):
            library.compact(kind="diskann")  # not in Milvus Lite


def test_which_index_suits():
    assert [layout.recommended(n, False) for n in (1_000, 1_000_000, 50_000_000)] == [
        "flat", "hnsw", "diskann",
    ]  # fmt: skip
    assert layout.recommended(50_000_000, True) == "flat"
    assert not layout.is_due("flat", 110_000, False)
    assert layout.is_due("flat", 130_000, False)
    assert not layout.is_due("hnsw", 1_000_000, False)


@pytest.mark.slow
def test_two_processes_share_a_server(server: LiteServer):
    """One is killed in the middle; the other one goes on, and nothing is there twice."""
    script = (
        "import sys\n"
        "from tests.contract.test_backends import video\n"
        "from tests.unit.library.fakes import FakeModel\n"
        "from vlar.library.library import Library\n"
        "import vlar.library.ingest.shard_reading as imported\n"
        "imported._ROWS_A_COMMIT = 30\n"
        "def videos():\n"
        "    for n in range(200):\n"
        "        yield video(f'/v/{n}', 40, n)\n"
        "        print(n, flush=True)\n"
        f"Library('{server.address()}', FakeModel()).add_vectors(videos())\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= 12:
            break
    from vlar.errors import LibraryLockedError

    with Library(server.address(), FakeModel()) as library:
        assert library.info().rows % 40 == 0
        with pytest.raises(LibraryLockedError, match=f"process {child.pid} on"):
            library.add_vectors([video("/v/1", 40, 1)])
        child.kill()
        child.wait()
        library.add_vectors(video(f"/v/{n}", 40, n) for n in range(20))
        info = library.info()
        assert info.rows == 40 * info.videos >= 800
        assert len(library.nearest(QUERY, 10_000)) == info.rows
        assert library.verify(files=False) == []


NAMES = [f"/v/{letter}" for letter in "abcdef"]


def change(libraries: list[Library], draw: np.random.Generator) -> None:
    """One change, the same in both."""
    kind, name, other = draw.integers(5), *draw.choice(NAMES, 2, replace=False)
    n, seed = int(draw.integers(1, 9)), int(draw.integers(1000))
    for library in libraries:
        if kind < 2:
            tags = {"seed": str(seed)} if kind else {}
            library.add_vectors([video(name, n, seed, tags=tags), video(other, n + 1, seed + 1)])
            continue
        if kind == 2:
            library.remove(name)
            continue
        with library._connection.writing() as writer, writer.transaction():
            found, taken = writer.at_path(name), writer.at_path(other)
            if kind == 3 and found is not None:
                writer.update(found.id, path=other, stamp=Stamp(seed, 1))
            if kind == 4 and found is not None and taken is not None:
                copy = writer.put_video(other, "copy", Stamp(seed, 2), 9.0)
                copy_within(writer, found.id, copy, DIM)
                writer.update(copy, tags={"copied": str(seed)})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_random_changes_leave_both_alike(tmp_path: Path, seed: int):
    draw = np.random.default_rng(seed)
    addresses = [str(tmp_path / "l.vlar"), f"milvus:{tmp_path}/m.db/l"]
    libraries = [Library(address, FakeModel()) for address in addresses]
    for library in libraries:
        library.add_vectors([video("/v/kept", 3, 1)])
    for _ in range(25):
        change(libraries, draw)
        listed = [
            [(row.path, row.windows, dict(row.tags)) for row in library.videos()]
            for library in libraries
        ]
        assert listed[0] == listed[1]
        query = vectors(1, int(draw.integers(1000)))[0]
        near = [[hit.similarity for hit in each.nearest(query, 100)] for each in libraries]
        assert np.allclose(*near, rtol=0, atol=1e-6)
        text = f"words {draw.integers(50)}"
        hits = [each.query(text, 4, min_probability=0.0) for each in libraries]
        close_to(list(hits[0]), list(hits[1]))
    assert digests(libraries[0]) == digests(libraries[1])
    assert [library.verify(files=False) for library in libraries] == [[], []]


def digests(library: Library) -> list[str]:
    """Rows of a recording by their digests, without the time at which it was added."""
    store = store_of(library)
    with store.snapshot():
        manifest = LibraryManifest.of(store)
        assert manifest is not None
        assert digest_of(store, manifest).rows == store.counts()[1]
        return sorted(
            str((*store.paths([int(video_id)]).values(), *span, vector.tobytes()))
            for rows in store.scan(manifest.dim, RowFilter())
            for video_id, span, vector in zip(
                rows.video_ids, rows.times_s.tolist(), rows.vectors, strict=True
            )
        )

"""Readers of Milvus next to a writer, wide searches, and indexes that only approximate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

from tests.contract.test_backends import vectors, video
from tests.unit.library.fakes import DIM, FakeModel
from tests.unit.plugins.milvus.conftest import LiteServer
from vlar.errors import UnknownNameError
from vlar.library.library import Library
from vlar.library.rows import RowFilter
from vlar.library.store.base import SnapshotMovedError
from vlar.plugins.milvus import client, layout

QUERY = vectors(1, 99)[0]


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"milvus:{tmp_path}/m.db/l"


def test_a_scan_whose_rows_are_removed_is_made_again(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client, "_MOST_BATCH", 64)
    with Library(address, FakeModel()) as library, Library(address, FakeModel()) as other:
        library.add_vectors(video(f"/v/{n}", 40, n) for n in range(4))
        store, _ = library._connection.nonempty()
        with store.snapshot():
            batches = store.scan(DIM, RowFilter())
            next(batches)
            other.remove("/v/3")
            with pytest.raises(SnapshotMovedError, match="run the command again"):
                list(batches)
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
        store, _ = library._connection.nonempty()
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
        "import vlar.library.shard_reading as imported\n"
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

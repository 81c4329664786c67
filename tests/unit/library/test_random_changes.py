"""Random adds, changes, renames, copies, removals and re-openings against a plain model of them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.unit.library.fakes import FakeModel, tiny_video
from vlar.library.library import Library
from vlar.library.query.candidates import Snapshot
from vlar.library.query.plan import QueryRequest, make_plan
from vlar.library.query.search import IndexCandidates
from vlar.library.rows import read_all
from vlar.library.store.sqlite import StoreRows

NAMES = st.sampled_from(["a", "b", "c", "deep/d", "deep/e"])
CONTENTS = st.integers(0, 5)
PHRASES = ("a cat", "two dogs")


class LibraryMachine(RuleBasedStateMachine):
    """``disk`` is what lies on the disk, ``rows`` what the library must hold (path: content)."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.model = FakeModel()
        self.disk: dict[str, int] = {}
        self.rows: dict[str, int] = {}
        self.seen: dict[int, list[bytes]] = {}  # vectors of each content
        self.library = Library(self.root / "l.vlar", self.model)

    def file(self, name: str) -> Path:
        return self.root / "videos" / f"{name}.mp4"

    @initialize()
    def one_video_at_least(self) -> None:
        self.write("a", 0)
        self.add({"first": "yes"})

    @rule(name=NAMES, content=CONTENTS)
    def write(self, name: str, content: int) -> None:
        if self.disk.get(name) != content:
            tiny_video(self.file(name), content, seconds=5 + content % 3)
            self.disk[name] = content

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: str, new: str) -> None:
        if old in self.disk and old != new:
            self.file(new).parent.mkdir(parents=True, exist_ok=True)
            self.file(old).replace(self.file(new))
            self.disk[new] = self.disk.pop(old)

    @rule(old=NAMES, new=NAMES)
    def copy(self, old: str, new: str) -> None:
        if old in self.disk and old != new:
            self.file(new).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.file(old), self.file(new))
            self.disk[new] = self.disk[old]

    @rule(name=NAMES)
    def delete_the_file(self, name: str) -> None:
        if name in self.disk:
            self.file(name).unlink()
            del self.disk[name]

    @rule(tags=st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from("12"), max_size=1))
    def add(self, tags: dict[str, str]) -> None:
        report = self.library.add(self.root / "videos", tags=tags)
        assert not report.failed
        assert report.added + report.updated + report.unchanged + report.moved == len(self.disk)
        # A row whose file is gone stays, unless its content turned up under another path.
        kept = {str(self.file(n)): c for n, c in self.rows.items() if n not in self.disk}
        held = {row.path for row in self.library.videos()}
        for path, content in kept.items():
            assert path in held or content in self.disk.values()
        self.rows = {n: c for n, c in self.rows.items() if str(self.file(n)) in held}
        self.rows.update(self.disk)
        assert len(held) == len(self.rows)

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        expected = int(name in self.rows)
        assert self.library.remove(self.file(name)) == expected
        self.rows.pop(name, None)

    @rule()
    def open_again(self) -> None:
        self.library.close()
        self.library = Library(self.root / "l.vlar", self.model, create=False)

    @rule()
    def lose_the_cache(self) -> None:
        (self.root / "l.vlar" / "ann.faiss").unlink(missing_ok=True)

    @invariant()
    def holds_what_it_must(self) -> None:
        held = {row.path: row.windows for row in self.library.videos()}
        # 5, 6 or 7 s in windows of 4 s every 2 s, the last ending with the video.
        expected = {str(self.file(n)): (2, 2, 3)[c % 3] for n, c in self.rows.items()}
        assert held == expected

    @invariant()
    def vectors_belong_to_the_content(self) -> None:
        store = self.library._connection.reader()
        if store is None:
            return
        vectors: dict[str, list[bytes]] = {}
        for path, vector in store.fetch(
            "SELECT path, vector FROM rows JOIN videos ON videos.id = video_id ORDER BY start_s"
        ):
            vectors.setdefault(path, []).append(vector)
        for name, content in self.rows.items():
            found = vectors[str(self.file(name))]
            assert self.seen.setdefault(content, found) == found
        assert len({v[0] for v in self.seen.values()}) == len(self.seen)

    @invariant()
    def search_is_exact(self) -> None:
        store = self.library._connection.reader()
        if store is None or not store.row_count():
            return
        for phrase in PHRASES:
            query = self.model.encode_queries([phrase])[0]
            hits = self.library.query(phrase, 1000, min_probability=0)
            cache, manifest = (
                self.library._connection._cache,
                self.library._connection.nonempty()[1],
            )
            assert cache is not None
            with store.snapshot():
                table, vectors = read_all(StoreRows(store, self.model.dim))
                ids = table.ids
                plan = make_plan(QueryRequest(phrase, 1, min_probability=0))
                snapshot = Snapshot(store, manifest, self.model, cache)
                found, whole = IndexCandidates(plan, snapshot, cache, query).best(len(ids) + 1)
            assert whole
            exact = vectors.astype(np.float64) @ query.astype(np.float64)
            by_id = {match.row_id: match.similarity for match in found}
            assert [by_id[i] for i in ids.tolist()] == pytest.approx(exact.tolist(), abs=1e-12)
            assert hits[0].similarity == pytest.approx(exact.max(), abs=1e-12)
            shown = {path for hit in hits for path in (hit.path, *(copy.path for copy in hit.also))}
            assert shown == {str(self.file(n)) for n in self.rows}

    def teardown(self) -> None:
        self.library.close()
        shutil.rmtree(self.root)


TestLibraryMachine = LibraryMachine.TestCase
TestLibraryMachine.settings = settings(
    max_examples=30,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

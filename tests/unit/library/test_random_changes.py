"""Random adds, updates, removals, filters, re-openings and compacts against plain models."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.library import hostile as h
from tests.unit.library.fakes import DIM, FakeModel, store_of, tiny_video
from vlar import registry
from vlar.library import cache
from vlar.library.engines import ivf
from vlar.library.ingest.shard_reading import VectorVideo
from vlar.library.library import Library
from vlar.library.query.candidates import Snapshot
from vlar.library.query.plan import QueryRequest, make_plan
from vlar.library.query.search import IndexCandidates
from vlar.library.rows import read_all
from vlar.library.store.sqlite import StoreRows
from vlar.types import Float32, Window

pytest.importorskip("faiss")

TYPES = ("flat", "ivf", "ivf-sq8")

NUMBERS = st.lists(st.integers(0, 30), min_size=1, max_size=8, unique=True)


def rows_of(seed: int) -> Float32:
    """Rows that lie in a few groups, as those of videos do."""
    draw = np.random.default_rng(seed)
    centre = np.random.default_rng(seed % 7).normal(size=DIM)
    rows = centre + 0.5 * draw.normal(size=(4 + seed % 40, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).astype("f4")


def video(number: int, seed: int) -> VectorVideo:
    rows = rows_of(seed)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    windows = [Window(2.0 * place, 2.0 * place + 4) for place in range(len(rows))]
    tags = {"parity": "odd" if number % 2 else "even", "number": str(number)}
    return VectorVideo(f"/v/{number % 3}/{number}.mp4", windows, rows, tags=tags)


class ScaleMachine(RuleBasedStateMachine):
    """``rows`` is the plain model: what each video holds."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.library = Library(self.root / "l.vlar", FakeModel())
        self.rows: dict[int, Float32] = {}
        self.draw = np.random.default_rng(0)
        self.found = self.wanted = 0

    @initialize(kind=st.sampled_from(TYPES), seed=st.integers(0, 1000))
    def begin(self, kind: str, seed: int) -> None:
        self.put(list(range(30)), seed)
        self.library.compact(kind=kind)

    @rule(numbers=NUMBERS, seed=st.integers(0, 10_000))
    def put(self, numbers: list[int], seed: int) -> None:
        videos = [video(number, seed + number) for number in numbers]
        self.library.add_vectors(videos)
        for number, each in zip(numbers, videos, strict=True):
            self.rows[number] = each.vectors.astype(np.float16).astype(np.float32)

    @rule(numbers=NUMBERS)
    def remove(self, numbers: list[int]) -> None:
        there = [n for n in numbers if n in self.rows]
        paths = [f"/v/{number % 3}/{number}.mp4" for number in numbers]
        assert self.library.remove(paths) == len(there)
        for number in there:
            del self.rows[number]

    @rule()
    def open_again(self) -> None:
        self.library.close()
        self.library = Library(self.root / "l.vlar", FakeModel())

    @rule(kind=st.sampled_from((None, *TYPES)), retrain=st.booleans())
    def compact(self, kind: str | None, retrain: bool) -> None:
        self.library.compact(kind=kind, retrain=retrain)

    @rule()
    def lose_the_cache(self) -> None:
        h.cache_of(self.root / "l.vlar").unlink(missing_ok=True)

    @precondition(lambda self: self.rows)
    @rule(
        where=st.sampled_from(
            [[], ["parity=odd"], ["number<9"], ["path=/v/1/*", "start_s>=10"], ["end_s<=8"]]
        ),
        k=st.integers(1, 30),
    )
    def ask(self, where: list[str], k: int) -> None:
        query = rows_of(int(self.draw.integers(0, 1 << 20)))[0]
        kept = {n: self.meant(n, rows, where) for n, rows in self.rows.items()}
        scores = np.sort(np.concatenate([rows @ query for rows in kept.values()]))[::-1][:k]
        hits = self.library.nearest(query, k, where=where)
        given = np.array([hit.similarity for hit in hits])
        assert len(given) == len(scores)
        for hit in hits:
            number, place = int(Path(hit.path).stem), round(hit.start_s / 2)
            assert hit.similarity == pytest.approx(self.rows[number][place] @ query, abs=1e-5)
            assert place * 2.0 in (self.starts(kept, number))
        if self.library.info().engine == "flat" or where:
            assert given == pytest.approx(scores, abs=1e-3 if where else 1e-5)
        self.found += int((given >= scores.min(initial=2) - 1e-5).sum())
        self.wanted += len(scores)

    @staticmethod
    def meant(number: int, rows: Float32, where: list[str]) -> Float32:
        starts = 2.0 * np.arange(len(rows))
        mask = np.ones(len(rows), bool)
        mask &= "parity=odd" not in where or number % 2 == 1
        mask &= "number<9" not in where or number < 9
        mask &= "path=/v/1/*" not in where or number % 3 == 1
        if "start_s>=10" in where:
            mask &= starts >= 10
        if "end_s<=8" in where:
            mask &= starts + 4 <= 8
        return np.where(mask[:, None], rows, np.nan)[mask]

    def starts(self, kept: dict[int, Float32], number: int) -> list[float]:
        return [2.0 * place for place in range(len(self.rows[number]))] if len(kept[number]) else []

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert self.library.verify() == []
        assert self.library.info().rows == sum(map(len, self.rows.values()))

    def teardown(self) -> None:
        self.library.close()
        shutil.rmtree(self.root)
        assert self.found >= 0.95 * self.wanted - 5  # a few rows in many lists: no exact figure


TestScaleMachine = ScaleMachine.TestCase


TestScaleMachine.settings = settings(
    max_examples=8, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(params=["ivf", "ivf-sq8"])
def large(request: pytest.FixtureRequest, tmp_path: Path) -> Library:
    """3,000 rows: some changes are few enough to stay beside the index."""
    library = Library(tmp_path / "l.vlar", FakeModel())
    library.add_vectors(video(number, number) for number in range(130))
    library.compact(kind=request.param)
    return library


def test_type_and_recall_are_stated(large: Library):
    info = large.info()
    assert "requested" in info.engine_why
    assert info.engine_facts["nprobe"] <= info.engine_facts["lists"]
    # One byte a number: near, before the truth refines it.
    least = 0.99 if info.engine == "ivf" else 0.0
    assert min(info.engine_facts["recall_near"], info.engine_facts["recall_far"]) >= least


def test_changes_stay_beside_a_large_index(large: Library, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache, "_SMALL", 0)
    file = h.cache_of(large.path)
    before = file.stat().st_ino
    new = video(500, 4242)
    large.add_vectors([new])
    large.remove("/v/0/*")
    hits = large.nearest(new.vectors[0], 1)
    assert hits[0].path.endswith("/500.mp4")
    assert not any(hit.path.startswith("/v/0/") for hit in large.nearest(new.vectors[0], 5000))
    info = large.info()
    assert (info.cache_state, info.waiting_added) == ("fresh", len(new.windows))
    assert info.waiting_deleted > 0
    assert file.stat().st_ino == before
    report = large.compact()
    assert (report.trained, large.info().waiting_added, large.info().waiting_deleted) == (
        False,
        0,
        0,
    )
    assert large.nearest(new.vectors[0], 1) == hits
    assert large.verify() == []


def test_an_index_that_was_outgrown_is_trained_anew(large: Library):
    before = large.info().engine_facts["trained_rows"]
    large.add_vectors(video(1000 + number, 77 * number) for number in range(500))
    info = large.info()
    assert info.rows > 4 * before
    assert info.engine_facts["trained_rows"] == info.rows


def test_a_drifted_index_is_trained_anew(large: Library, monkeypatch: pytest.MonkeyPatch):
    assert not large.compact().trained
    monkeypatch.setattr(cache, "MERGED_SHARE", 0)
    large.add_vectors([video(500, 4242)])  # folded in: the library is small
    assert large.info().engine_facts["trained_rows"] < large.info().rows
    monkeypatch.setattr(ivf, "_DRIFTED", 0.0)
    large.add_vectors([video(501, 4243)])
    assert large.info().engine_facts["trained_rows"] == large.info().rows


def test_a_cache_from_before_a_compact_is_refused(large: Library, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache, "_SMALL", 0)
    old = h.cache_of(large.path).read_bytes()
    large.remove("/v/1/1.mp4")
    large.compact()
    large._connection.disconnect()
    h.cache_of(large.path).write_bytes(old)
    assert large.info().cache_state == "stale"
    query = video(1, 1).vectors[0]
    assert all(not hit.path.endswith("/1.mp4") for hit in large.nearest(query, 5000))


def test_a_newer_cache_renews_the_snapshot(large: Library):
    store = store_of(large)
    with store.snapshot():
        before = store.row_count()
        with Library(large.path, FakeModel()) as other:
            other.add_vectors([video(900, 1)])
            other.compact()
        cached = cache.refresh(store, None)
        assert cached.engine.count() == store.row_count() == before + len(rows_of(1))


def test_filters_give_k_rows_whenever_k_exist(large: Library):
    for where, k in ((["parity=odd"], 50), (["number=7"], 4), (["number=7"], 500)):
        exist = sum(
            len(video(n, n).windows)
            for n in range(130)
            if (n % 2 == 1 if "parity" in where[0] else n == 7)
        )
        assert len(large.nearest(rows_of(5)[0], k, where=where)) == min(k, exist)


def test_types_by_size():
    assert [cache.choose(rows)[0] for rows in (0, 100_000, 100_001, 4_000_000, 4_000_001)] == [
        "flat", "flat", "ivf", "ivf", "ivf-sq8",
    ]  # fmt: skip
    assert set(TYPES) <= set(registry.names("engine"))


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
        h.cache_of(self.root / "l.vlar").unlink(missing_ok=True)

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
    max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)

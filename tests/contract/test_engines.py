"""Every registered engine: finds, filters, changes by row id, is written and read again.

The last engine of the list is made here, with NumPy: it serves a whole library.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.unit.library.fakes import FakeModel, tiny_video
from vlar import registry
from vlar.library.engines.base import Engine, Probes
from vlar.library.library import Library
from vlar.library.rows import Float16, Int64, RowFilter, RowSource, RowTable, read_all
from vlar.types import Float32

pytest.importorskip("faiss")
ROWS, DIM = 600, 16
SHIPPED = registry.names("engine")


@registry.register("engine", "test-brute-force")
class BruteForce(Engine):
    """All rows in two arrays; changed in place; no file."""

    name = "test-brute-force"
    exact = True
    rows = None
    why = "only on request"

    def __init__(self, table: RowTable, vectors: Float16) -> None:
        self.facts = {"rows_at_start": len(table)}
        self._table, self._vectors = table, vectors.astype(np.float32)
        self._last = int(table.ids[-1]) if len(table) else 0

    @classmethod
    def build(cls, source: RowSource, probes: Probes | None) -> BruteForce:
        return cls(*read_all(source))

    def add(self, table: RowTable, vectors: Float16) -> None:
        self._table = RowTable.joined([self._table, table])
        self._vectors = np.concatenate([self._vectors, vectors.astype(np.float32)])
        self._last = max([self._last, *table.ids.tolist()])

    def delete(self, ids: Int64) -> None:
        keep = ~np.isin(self._table.ids, ids)
        self._table, self._vectors = self._table.where(keep), self._vectors[keep]

    def search(
        self, query: Float32, k: int, allowed: RowFilter | None = None
    ) -> tuple[Int64, Float32]:
        mask = (allowed or RowFilter()).mask(self._table)
        scores = self._vectors[mask] @ query
        best = np.argsort(-scores, kind="stable")[:k]
        return self._table.ids[mask][best], scores[best]

    def ids(self, allowed: RowFilter | None = None) -> Int64:
        return self._table.ids[(allowed or RowFilter()).mask(self._table)]

    @property
    def last_id(self) -> int:
        return self._last


class Source:
    """Rows in memory; each is the only window of a video of its own."""

    def __init__(self, vectors: Float32, first_id: int = 1) -> None:
        self.dim = vectors.shape[1]
        self.count = len(vectors)
        self.vectors = vectors.astype(np.float16)
        self.ids = first_id + 3 * np.arange(self.count)  # ids have gaps

    @property
    def table(self) -> RowTable:
        return RowTable(self.ids, self.ids, self.ids * 1.0, self.ids * 1.0)

    def chunks(self) -> Iterator[tuple[RowTable, Float16]]:
        yield self.table, self.vectors


def unit_rows(count: int, seed: int) -> Float32:
    rows = np.random.default_rng(seed).normal(size=(count, DIM))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16).astype(np.float32)


def recall(
    engine: Engine, rows: dict[int, Float32], query: Float32, k: int, allowed: RowFilter | None
) -> float:
    """Share of the best ``k`` rows among the proposals, which must be allowed and distinct."""
    may = {i for i in rows if allowed is None or allowed.videos is None or i in allowed.videos}
    ids, scores = engine.search(query, k, allowed)
    assert len(ids) == len(scores) >= min(k, len(may))
    assert len(set(ids.tolist())) == len(ids)
    assert set(ids.tolist()) <= may
    assert np.all(np.diff(scores) <= 1e-6)
    best = sorted(may, key=lambda i: -float(rows[i] @ query))[:k]
    return len(set(best) & set(ids.tolist())) / max(len(best), 1)


@pytest.fixture(params=[*SHIPPED, "test-brute-force"])
def kind(request: pytest.FixtureRequest) -> type[Engine]:
    return registry.get("engine", request.param)


def test_it_finds_filters_and_survives_its_file(kind: type[Engine], tmp_path: Path):
    source = Source(unit_rows(ROWS, 1))
    rows = dict(zip(source.ids.tolist(), source.vectors.astype(np.float32), strict=True))
    engine = kind.build(source, None)
    assert (engine.count(), engine.name, engine.last_id) == (ROWS, kind.name, source.ids[-1])
    assert engine.ids().tolist() == source.ids.tolist()
    engines = [engine]
    if engine.write(tmp_path / "x"):
        again = kind.read(tmp_path / "x", engine.facts, engine.table())
        assert again is not None
        engines.append(again)
    for each in engines:
        shares = [recall(each, rows, query, 10, None) for query in unit_rows(50, 2)]
        assert np.mean(shares) >= (1 if kind.exact else 0.97)
        for share in (0.95, 0.5, 0.05, 0.0):
            chosen = source.ids[np.random.default_rng(3).random(ROWS) < share]
            allowed = RowFilter(frozenset(chosen.tolist()))
            found = recall(each, rows, unit_rows(1, 4)[0], 10, allowed)
            assert each.count(allowed) == len(chosen)
            assert each.ids(allowed).tolist() == chosen.tolist()
            assert len(chosen) < 10 or found >= 0.9


def test_a_filter_on_times(kind: type[Engine]):
    engine = kind.build(Source(unit_rows(ROWS, 1)), None)
    allowed = RowFilter(start_s=(100.0, 200.0), end_s=(-np.inf, 150.0))
    expected = [i for i in range(1, 3 * ROWS, 3) if 100 <= i <= 150]
    ids, _ = engine.search(unit_rows(1, 2)[0], 1000, allowed)
    assert sorted(ids.tolist()) == engine.ids(allowed).tolist() == expected


def test_adds_and_deletes_are_visible_at_once_and_after_merging(kind: type[Engine]):
    source = Source(unit_rows(ROWS, 1))
    engine = kind.build(source, None)
    rows = dict(zip(source.ids.tolist(), source.vectors.astype(np.float32), strict=True))
    new = Source(unit_rows(30, 5), first_id=10_000)
    engine.add(new.table, new.vectors)
    gone = np.concatenate([source.ids[::7], new.ids[:3]])
    engine.delete(np.concatenate([gone, [77_777]]))  # an unknown id is ignored
    engine.delete(gone)  # and so is one that is gone
    rows |= dict(zip(new.ids.tolist(), new.vectors.astype(np.float32), strict=True))
    for row_id in gone.tolist():
        del rows[row_id]
    left = Source(np.stack([rows[i] for i in sorted(rows)]))
    left.ids = np.array(sorted(rows))
    assert engine.last_id == new.ids[-1]
    merged = engine.merged(left, None)
    assert merged is not None
    assert merged.added == merged.deleted == 0
    for each in (engine, merged):
        assert each.count() == len(rows)
        assert each.ids().tolist() == sorted(rows)
        shares = [recall(each, rows, query, 10, None) for query in left.vectors[-60:]]
        assert np.mean(shares) >= (1 if kind.exact else 0.97)
        for row_id in new.ids[3:].tolist():
            assert each.search(rows[row_id], 1)[0][0] == row_id
        both = frozenset([int(source.ids[1]), int(new.ids[5]), int(gone[0])])
        ids, _ = each.search(unit_rows(1, 4)[0], 10, RowFilter(both))
        assert set(ids.tolist()) == both - {int(gone[0])}


def test_it_may_be_emptied(kind: type[Engine]):
    source = Source(unit_rows(50, 1))
    engine = kind.build(source, None)
    engine.delete(source.ids)
    assert engine.count() == 0
    assert len(engine.search(unit_rows(1, 2)[0], 5)[0]) == 0


def test_what_it_is_chosen_for(kind: type[Engine]):
    assert kind.why
    if kind.rows is not None:
        least, most = kind.rows
        assert least >= 0
        assert most is None or most > least


def test_it_serves_a_whole_library(kind: type[Engine], tmp_path: Path):
    """The same answers as exact search, through adds, updates, deletes, copies and filters."""
    clips = [tiny_video(tmp_path / "videos" / f"{i}.mp4", i, seconds=12) for i in range(8)]
    asked = [("a cat", None), ("two dogs", ["start_s>=2"]), ("a cat", ["path=[0-3].mp4"])]

    def answers(library: Library) -> list[object]:
        return [library.query(text, 50, where=where, min_probability=0) for text, where in asked]

    with (
        Library(tmp_path / "exact.vlar", FakeModel()) as exact,
        Library(tmp_path / "own.vlar", FakeModel()) as own,
    ):
        for library in (exact, own):
            library.add(clips[:6])
        own.compact(kind=kind.name)
        assert own.info().engine == kind.name
        for step in range(4):
            assert answers(own) == answers(exact)
            for library in (exact, own):
                if step == 0:
                    library.remove(clips[1])
                    library.add(clips[6:])
                elif step == 1:
                    library.add(tiny_video(clips[2], 40 + step, seconds=12))
                elif step == 2:
                    library._connection.disconnect()
            if step == 2:
                own.compact()
        query = FakeModel().encode_queries(["a cat"])[0]
        for mine, best in zip(own.nearest(query, 7), exact.nearest(query, 7), strict=True):
            assert (mine.path, mine.start_s) == (best.path, best.start_s)
            assert mine.similarity == pytest.approx(best.similarity, abs=1e-6)
        assert own.verify() == []


def test_a_requested_engine_that_is_not_installed_is_replaced(tmp_path: Path):
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        library.add(tiny_video(tmp_path / "a.mp4", 1))
        library.compact(kind="test-brute-force")
        known = registry._parts["engine"].pop("test-brute-force")
        try:
            assert library.info().engine == "flat"
            assert library.query("a cat", min_probability=0)
        finally:
            registry._parts["engine"]["test-brute-force"] = known

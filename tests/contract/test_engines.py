"""Every registered type of index: finds, filters, changes, is written and read again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vlar import registry
from vlar.index.protocol import AnnIndex
from vlar.index.store.database import Float16
from vlar.index.store.rows import RowSource, RowTable, Selection
from vlar.types import Float32

pytest.importorskip("faiss")
ROWS, DIM = 600, 16


class Source(RowSource):
    """Rows that are held in memory."""

    def __init__(self, vectors: Float32) -> None:
        self.dim = vectors.shape[1]
        self.count = len(vectors)
        self._vectors = vectors.astype(np.float16)

    def chunks(self) -> Iterator[tuple[RowTable, Float16]]:
        ids = np.arange(1, self.count + 1)
        yield RowTable(ids, ids, ids * 1.0, ids * 1.0), self._vectors


def unit_rows(count: int, seed: int) -> Float32:
    rows = np.random.default_rng(seed).normal(size=(count, DIM))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16).astype(np.float32)


def found(index: AnnIndex, vectors: Float32, query: Float32, k: int, allowed: Selection | None):
    """Share of the best ``k`` rows among the proposals, and the proposals."""
    scores = vectors @ query
    if allowed is not None:
        scores = np.where(allowed.mask, scores, -2)
    places, _ = index.search(query, index.reach(k), allowed)
    assert len(places) >= min(k, len(vectors) if allowed is None else allowed.count)
    assert len(set(places.tolist())) == len(places)
    return len(set(np.argsort(-scores)[:k]) & set(places.tolist())) / k, places


@pytest.fixture(params=registry.names("engine"))
def kind(request: pytest.FixtureRequest) -> type[AnnIndex]:
    return registry.get("engine", request.param)


def test_it_finds_filters_and_survives_its_file(kind: type[AnnIndex], tmp_path: Path):
    vectors = unit_rows(ROWS, 1)
    index, table = kind.build(Source(vectors), None)
    assert (index.size, len(table), index.name) == (ROWS, ROWS, kind.name)
    assert index.write(tmp_path / "x")
    again = kind.read(tmp_path / "x", index.facts)
    assert again is not None
    for each in (index, again):
        shares = [found(each, vectors, query, 10, None)[0] for query in unit_rows(50, 2)]
        assert np.mean(shares) >= (1 if kind.exact else 0.97)
        for share in (0.95, 0.5, 0.05, 0.0):
            allowed = Selection(np.random.default_rng(3).random(ROWS) < share)
            recall, places = found(each, vectors, unit_rows(1, 4)[0], 10, allowed)
            assert allowed.mask[places].all()
            assert allowed.count < 10 or recall >= 0.9


def test_it_takes_changes(kind: type[AnnIndex]):
    vectors, new = unit_rows(ROWS, 1), unit_rows(30, 5)
    index, _ = kind.build(Source(vectors), None)
    keep = Selection(np.arange(ROWS) % 7 != 0)
    both = np.concatenate([vectors[keep.mask], new])
    changed = index.updated(keep, new.astype(np.float16), Source(both), None)
    assert changed is not None
    assert changed.size == len(both)
    shares = [found(changed, both, query, 10, None)[0] for query in both[-60:]]
    assert np.mean(shares) >= (1 if kind.exact else 0.97)
    assert [changed.search(row, 1, None)[0][0] for row in new] == list(range(keep.count, len(both)))


def test_what_it_is_chosen_for(kind: type[AnnIndex]):
    least, most = kind.rows
    assert least >= 0
    assert most is None or most > least
    assert kind.why

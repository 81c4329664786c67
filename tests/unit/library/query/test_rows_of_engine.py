"""Rows that come from the search engine: the same answers as from the store, and its damage."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.unit.library import hostile as h
from tests.unit.library.fakes import DIM, FakeModel
from vlar.library.engines.flat import FlatEngine
from vlar.library.ingest.shard_reading import VectorVideo
from vlar.library.library import Library
from vlar.numeric import sigmoid
from vlar.types import Float32, Float64, Window

PHRASES = [f"phrase {number}" for number in range(12)]


def recordings(count: int, first: int = 0) -> Iterator[VectorVideo]:
    """Recordings of 30 windows, of which ten after each other are alike."""
    draw = np.random.default_rng([first, 3])
    windows = [Window(2.0 * number, 2.0 * number + 4) for number in range(30)]
    for number in range(first, first + count):
        vectors = draw.normal(size=(3, DIM)).repeat(10, axis=0) + 0.1 * draw.normal(size=(30, DIM))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        yield VectorVideo(f"/example/{number}.mp4", windows, vectors.astype(np.float32))


def answers(library: Library) -> list[object]:
    return [library.query(text, 5, min_probability=p) for text in PHRASES for p in (0.0, 0.5)]


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    with Library(tmp_path / "l.vlar", FakeModel()) as opened:
        opened.add_vectors(recordings(40))
        yield opened


def test_answers_are_those_of_the_store(library: Library, monkeypatch: pytest.MonkeyPatch):
    by_engine = answers(library)
    library.add_vectors(recordings(2, 100))  # rows that the index does not hold yet
    library.remove("/example/3.mp4")
    changed = answers(library)
    monkeypatch.setattr(FlatEngine, "held_rows", lambda *_: None)
    monkeypatch.setattr(FlatEngine, "rows_of", lambda *_: None)
    monkeypatch.setattr(FlatEngine, "prepare", lambda *_: None)
    with Library(library.path, FakeModel()) as fresh:
        assert answers(fresh) == changed
    assert by_engine != changed  # control: the change is seen


def test_a_row_that_changes_after_it_was_read_is_no_answer(
    library: Library, caplog: pytest.LogCaptureFixture
):
    best = library.query(PHRASES[0], 1, min_probability=0)[0]
    library.query(PHRASES[1], 5, min_probability=0)
    h.unsealed("vector", np.zeros(DIM, "<f2").tobytes(), best.row or 0)(Path(library.path))
    hits = library.query(PHRASES[0], 50, min_probability=0)
    assert best.row not in [hit.row for hit in hits]
    assert "damaged" in caplog.text


def test_many_callers_get_the_answers_of_one(library: Library):
    alone = answers(library)
    with Library(library.path, FakeModel()) as other, ThreadPoolExecutor(8) as threads:
        for found in threads.map(lambda _: answers(other), range(8)):
            assert found == alone


class CountingModel(FakeModel):
    """A model whose figures of rows are the mean of each, and count."""

    rows = 0

    def everyday(self, vectors: Float32) -> Float64:
        self.rows += len(vectors)
        return np.repeat(vectors.mean(axis=1, dtype=np.float64)[:, None], 3, axis=1)

    def match_probability(
        self, vectors: Float32, query: Float32, everyday: Float64 | None = None
    ) -> Float64:
        figures = self.everyday(vectors) if everyday is None else everyday
        assert np.array_equal(figures[:, 0], vectors.mean(axis=1, dtype=np.float64))
        return sigmoid(4 * (vectors @ query) + figures[:, 1])


def test_expressions_keep_the_figures_of_rows(library: Library):
    model, expression = CountingModel(), f'"{PHRASES[0]}" AND "{PHRASES[1]}"'
    with Library(library.path, model) as asked:
        alone = asked.query(expression, 5, min_probability=0)
        asked.query(PHRASES[2], 5)  # the engine proves what the ids mean
        assert asked.query(expression, 5, min_probability=0) == alone
        before = model.rows
        assert asked.query(expression, 5, min_probability=0) == alone
        assert model.rows == before  # none was computed again
        asked.add_vectors(recordings(1, 200))
        asked.query(expression, 5, min_probability=0)
        assert model.rows > before  # control

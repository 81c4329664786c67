"""Unusual windows, duplicates and highlights of libraries whose vectors are planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.library.fakes import DIM, FakeModel
from vlar.errors import EncoderMismatchError, LibraryError, QueryError
from vlar.library.discovery import (
    apart,
    distances,
    drawn,
    farthest_first,
    nearest_rows,
    within,
)
from vlar.library.ingest.shard_reading import VectorVideo
from vlar.library.library import Library
from vlar.library.rows import RowTable
from vlar.numeric import unit
from vlar.types import Window

RANDOM = np.random.default_rng(3)
CENTRES = unit(RANDOM.normal(size=(2, DIM)))


def around(centre: int, count: int, spread: float = 0.1) -> np.ndarray:
    noise = RANDOM.normal(scale=spread, size=(count, DIM))
    return unit(CENTRES[centre] + noise).astype(np.float32)


def recording(name: str, vectors: np.ndarray) -> VectorVideo:
    spans = [Window(2.0 * i, 2.0 * i + 4.0) for i in range(len(vectors))]
    return VectorVideo(name, spans, vectors, tags={"name": name})


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Twenty recordings of two kinds; one has a strange window, one is a copy with noise."""
    found = [around(i % 2, 6) for i in range(20)]
    found[7][3] = unit(-CENTRES[0] + 0.2 * CENTRES[1])
    copied = unit(found[4] + RANDOM.normal(scale=0.005, size=found[4].shape)).astype(np.float32)
    library = Library(tmp_path_factory.mktemp("d") / "l.vlar", FakeModel())
    library.add_vectors([recording(f"/{i}.mp4", v) for i, v in enumerate(found)])
    library.add_vectors([recording("/copy.mp4", copied[1:5])])
    return library


def test_the_planted_window_is_the_most_unusual(library: Library):
    first, second = library.unusual(2)
    assert (first.path, first.start_s, first.rank) == ("/7.mp4", 6.0, 1)
    assert first.score > 2 * second.score
    assert first.tags == {"name": "/7.mp4"}
    assert first.nearest is not None
    assert first.nearest != "/7.mp4"
    assert first.to_dict()["nearest_s"] == first.nearest_s


def test_the_planted_window_is_the_highlight_of_its_recording(library: Library):
    found = library.highlights(3)
    assert (found[0].path, found[0].start_s) == ("/7.mp4", 6.0)
    assert len({row.path for row in found}) == 3
    assert found[0].score > found[1].score


def test_the_copy_is_found_and_nothing_else(library: Library):
    (group,) = library.duplicates()
    assert [member.path for member in group.members] == ["/4.mp4", "/copy.mp4"]
    first, copy = group.members
    assert (first.start_s, first.end_s) == (2.0, 12.0)
    assert (copy.start_s, copy.end_s) == (0.0, 10.0)
    assert all(0.97 <= member.similarity <= 1 for member in group.members)


def test_what_is_new_against_another_library(library: Library, tmp_path: Path):
    today = Library(tmp_path / "today.vlar", FakeModel())
    new = unit(CENTRES[0] - 2 * CENTRES[1]).astype(np.float32)
    today.add_vectors([recording("/old.mp4", around(0, 4)), recording("/new.mp4", new[None])])
    assert today.unusual(1, against=library)[0].path == "/new.mp4"
    other = Library(tmp_path / "other.vlar", FakeModel(seed=1))
    other.add_vectors([recording("/a.mp4", around(0, 2))])
    refused(EncoderMismatchError, "two models", today.unusual, against=other)


def test_faults(library: Library, tmp_path: Path):
    refused(QueryError, "k is 0", library.unusual, 0)
    refused(LibraryError, "empty", Library(tmp_path / "empty.vlar", FakeModel()).highlights)
    one = Library(tmp_path / "one.vlar", FakeModel())
    one.add_vectors([recording("/a.mp4", around(0, 1))])
    assert one.highlights() == []
    assert one.duplicates() == []
    assert one.unusual()[0].nearest is None


def test_blocks_give_what_a_full_comparison_gives(monkeypatch: pytest.MonkeyPatch):
    vectors = unit(RANDOM.normal(size=(50, 8))).astype(np.float32)
    owners = np.arange(50) // 5
    full = nearest_rows(vectors, owners, vectors, owners, 3)
    monkeypatch.setattr("vlar.library.discovery._BLOCK", 7)
    small = nearest_rows(vectors, owners, vectors, owners, 3)
    assert np.allclose(full[0], small[0], atol=1e-6)
    assert (full[1] == small[1]).all()
    cosines = (vectors @ vectors.T).astype(np.float64)
    cosines[owners[:, None] == owners] = -1
    assert np.allclose(full[0][:, 0], cosines.max(axis=1), atol=1e-6)
    assert np.allclose(distances(vectors, owners, vectors, owners, 1)[0], 1 - cosines.max(axis=1))


def test_measures_where_nothing_stands_out():
    same = np.repeat(unit(np.ones((1, 8))).astype(np.float32), 9, axis=0)
    starts = 2.0 * np.arange(9)
    assert np.allclose(within(same, starts, starts + 4), 0, atol=1e-3)
    assert within(same[:3], starts[:3], starts[:3] + 4).tolist() == [0, 0, 0]
    assert len(drawn(100, 10)) == 10
    table = RowTable(np.arange(9), np.zeros(9, np.int64), starts, starts + 4)
    assert apart(table, np.arange(9), 9) == [0, 2, 4, 6, 8]


def unbalanced(random: np.random.Generator) -> np.ndarray:
    """900 rows about one centre and 5 about each of twenty others, as in real footage."""
    centres = unit(random.normal(size=(21, 32)))
    owners = np.repeat(np.arange(21), [900, *[5] * 20])
    return unit(centres[owners] + 0.02 * random.normal(size=(1000, 32))).astype(np.float32)


def radius(vectors: np.ndarray, chosen: list[int]) -> float:
    """The cosine distance of the row that the chosen ones cover least."""
    return float(1 - (vectors @ vectors[chosen].T).max(axis=1).min())


def test_diverse_rows_cover_more_than_random_ones():
    random = np.random.default_rng(5)
    vectors = unbalanced(random)
    rows = np.arange(len(vectors))
    chosen, scores = farthest_first(vectors, rows, 21)
    assert radius(vectors, chosen) < 0.1
    assert scores[1:] == sorted(scores[1:], reverse=True)
    # The score of the next choice is what these leave uncovered; a longer list begins alike.
    longer, more = farthest_first(vectors, rows, 22)
    assert longer[:21] == chosen
    assert more[21] == pytest.approx(radius(vectors, chosen), abs=1e-5)
    draws = [radius(vectors, list(random.choice(1000, 21, replace=False))) for _ in range(20)]
    assert min(draws) > 2 * radius(vectors, chosen)  # the control


def test_diverse_choices_keep_sequences_whole():
    random = np.random.default_rng(6)
    vectors = unbalanced(random)
    owners = np.arange(1000) // 50
    chosen, _ = farthest_first(vectors, owners, 6)
    picked = owners[chosen].tolist()
    assert len(set(picked)) == 6
    whole = radius(vectors, list(np.flatnonzero(np.isin(owners, picked))))
    draws = [random.choice(20, 6, replace=False) for _ in range(20)]
    worse = [radius(vectors, list(np.flatnonzero(np.isin(owners, draw)))) for draw in draws]
    assert whole < np.mean(worse)


def test_diverse_windows_of_a_library(library: Library):
    found = library.diverse(4)
    assert [row.rank for row in found] == [1, 2, 3, 4]
    assert len({(row.path, row.start_s) for row in found}) == 4
    assert found == library.diverse(5)[:4]
    whole = library.diverse(3, whole=True)
    assert len({row.path for row in whole}) == 3
    by_path = {row.path: row.windows for row in library.videos()}
    assert all(row.end_s - row.start_s == 2.0 * by_path[row.path] + 2 for row in whole)
    refused(QueryError, "k is 0", library.diverse, 0)


def test_what_repeats_a_chosen_window_is_left_out(tmp_path: Path):
    library = Library(tmp_path / "same.vlar", FakeModel())
    vectors = around(0, 3)
    library.add_vectors([recording("/a.mp4", vectors), recording("/b.mp4", vectors)])
    assert len(library.diverse(6)) == 3
    assert len(library.diverse(6, whole=True)) == 1


def test_of_too_many_rows_some_are_drawn(library: Library, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vlar.library.discovery.MOST_CANDIDATES", 7)
    assert len(library.diverse(100)) <= 7
    assert library.diverse(100) == library.diverse(100)

"""Answers that show the same are one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.library.fakes import DIM, FakeModel
from vlar.library.ingest.shard_reading import VectorVideo
from vlar.library.library import Library
from vlar.numeric import unit
from vlar.types import Float32, Hit, Window


def turned(vector: Float32, cosine: float) -> Float32:
    """A unit vector with that cosine to another."""
    aside = np.random.default_rng(9).normal(size=DIM)
    aside -= (aside @ vector) * vector
    aside /= np.linalg.norm(aside)
    return (cosine * vector + np.sqrt(1 - cosine**2) * aside).astype(np.float32)


def test_nearly_identical_windows_of_other_files_fold(tmp_path: Path):
    model = FakeModel()
    query = model.encode_queries(["a cat"])[0]
    shown = turned(query, 0.9)
    vectors = {"a": shown, "b": turned(shown, 0.99995), "c": turned(shown, 0.99), "d": -query}
    with Library(tmp_path / "l.vlar", model) as library:
        library.add_vectors(
            VectorVideo(f"/v/{name}.mp4", [Window(0, 4)], vector[None])
            for name, vector in vectors.items()
        )
        hits = library.query("a cat", 10, min_probability=0)
    groups = {frozenset(Path(p).stem for p in shown_in(hit)) for hit in hits}
    assert groups == {frozenset("ab"), frozenset("c"), frozenset("d")}
    assert [hit.rank for hit in hits] == [1, 2, 3]


def test_windows_of_one_file_do_not_fold(tmp_path: Path):
    model = FakeModel()
    query = model.encode_queries(["a cat"])[0]
    windows = [Window(0, 4), Window(100, 104)]
    with Library(tmp_path / "l.vlar", model) as library:
        library.add_vectors([VectorVideo("/v/a.mp4", windows, np.stack([query, query]))])
        hits = library.query("a cat", 10, min_probability=0)
    assert [(hit.start_s, hit.also) for hit in hits] == [(0.0, ()), (100.0, ())]


@pytest.mark.parametrize("seed", range(4))
def test_composed_answers_on_filtered_rows_with_copies(tmp_path: Path, seed: int):
    """Against every window one by one; windows do not touch, so each is an answer of its own."""
    draw = np.random.default_rng(seed)
    originals = [unit(draw.normal(size=(5, DIM)).astype(np.float32)) for _ in range(4)]
    videos = [originals[number % 4] for number in range(6)]  # the last two are copies
    windows = [Window(2.0 * place, 2.0 * place + 1) for place in range(5)]
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        library.add_vectors(
            VectorVideo(f"/v/{number}.mp4", windows, vectors)
            for number, vectors in enumerate(videos)
        )
        for k, least in ((1, 0), (3, 2), (5, 4), (100, 2)):
            hits = library.query(
                "a cat AND NOT two dogs", k, where=[f"start_s>={least}"], min_probability=0
            )
            worth = {row: value for row, value in worths(videos).items() if 2 * row[1] >= least}
            rows = sorted((row for row in worth if row[0] < 4), key=lambda row: -worth[row])[:k]
            # Which of two copies is named first is open: their vectors are the same.
            assert [
                ({int(Path(path).stem) for path in shown_in(hit)}, hit.parts[0].start_s)
                for hit in hits
            ] == [({number, number + 4} & set(range(6)), 2.0 * at) for number, at in rows]


def shown_in(hit: Hit) -> list[str]:
    return [hit.path, *(copy.path for copy in hit.also)]


def worths(videos: list[Float32]) -> dict[tuple[int, int], float]:
    """What each window is worth; of fewer than 32 windows none can stand out (``standing``)."""
    model = FakeModel()
    queries = model.encode_queries(["a cat", "two dogs"]).astype(np.float64)
    found: dict[tuple[int, int], float] = {}
    for number, vectors in enumerate(videos):
        surely = 1 / (1 + np.exp(-8 * (vectors.astype(np.float16) @ queries.T)))
        for at, (a, b) in enumerate(surely):
            found[number, at] = a * (1 - b)
    return found

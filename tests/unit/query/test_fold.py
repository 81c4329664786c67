"""Answers that show the same are one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.unit.index.fakes import DIM, FakeModel
from vlar.index.bulk import VectorVideo
from vlar.index.library import Library
from vlar.types import Float32, Window


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
        hits = library.query("a cat", 10)
    groups = {frozenset(Path(p).stem for p in (hit.path, *hit.also)) for hit in hits}
    assert groups == {frozenset("ab"), frozenset("c"), frozenset("d")}
    assert [hit.rank for hit in hits] == [1, 2, 3]


def test_windows_of_one_file_do_not_fold(tmp_path: Path):
    model = FakeModel()
    query = model.encode_queries(["a cat"])[0]
    windows = [Window(0, 4), Window(100, 104)]
    with Library(tmp_path / "l.vlar", model) as library:
        library.add_vectors([VectorVideo("/v/a.mp4", windows, np.stack([query, query]))])
        hits = library.query("a cat", 10)
    assert [(hit.start_s, hit.also) for hit in hits] == [(0.0, ()), (100.0, ())]

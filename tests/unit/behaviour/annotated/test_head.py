"""The forest, the best path of bouts, and the head that is saved."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tests.refusals import refused
from vlar.behaviour.annotated.forest import Bins, Forest, Growth, grow
from vlar.behaviour.annotated.head import (
    LabelTrack,
    TimelineHead,
    best_path,
    context_rows,
)
from vlar.errors import ModelError
from vlar.segments.spans import runs

FEW = Growth(trees=20, columns=4, least=2.0, depth=6)


def made(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose first feature decides the label, and one-hot labels."""
    rows = np.random.default_rng(seed).normal(size=(400, 6)).astype(np.float32)
    return rows, np.stack([rows[:, 0] > 0, rows[:, 0] <= 0], axis=1).astype(np.float32)


def test_a_forest_learns_what_is_there_and_not_what_is_shuffled():
    rows, targets = made()
    bins = Bins.of(rows)
    forest = grow(bins.apply(rows), targets, np.ones(len(rows)), FEW)
    other, truth = made(1)
    right = forest.predict(bins.apply(other)).argmax(axis=1) == truth.argmax(axis=1)
    assert right.mean() > 0.95
    shuffled = np.random.default_rng(0).permutation(targets)
    control = grow(bins.apply(rows), shuffled, np.ones(len(rows)), FEW)
    right = control.predict(bins.apply(other)).argmax(axis=1) == truth.argmax(axis=1)
    assert 0.3 < right.mean() < 0.7
    np.testing.assert_allclose(forest.predict(bins.apply(other)).sum(axis=1), 1, atol=1e-5)


def test_a_missing_number_has_a_bin():
    rows, targets = made()
    rows[::3] = np.nan
    bins = Bins.of(rows)
    binned = bins.apply(rows)
    assert (binned[::3] == 0).all()
    assert binned[1::3].min() > 0
    assert np.isfinite(grow(binned, targets, np.ones(len(rows)), FEW).predict(binned)).all()


def test_a_forest_whose_walk_would_not_end_is_refused():
    rows, targets = made()
    forest = grow(Bins.of(rows).apply(rows), targets, np.ones(len(rows)), FEW)
    state = forest.state()
    again = Forest.restore(state)
    np.testing.assert_array_equal(again.value, forest.value)
    with pytest.raises(ValueError, match="do not fit"):
        Forest.restore({**state, "child": np.zeros_like(state["child"])})
    refused(ValueError, "missing", Forest.restore, {"roots": state["roots"]})


def brute(probability: np.ndarray, least: tuple[int, ...], switch: float) -> float:
    """The best score of any path whose inner bouts last long enough."""
    scores = np.log(np.maximum(probability, 0.01))
    best = -np.inf
    for path in product(range(probability.shape[1]), repeat=len(probability)):
        parts = runs(path)
        inner = parts[1:-1]
        if all(end - begin >= least[path[begin]] for begin, end, _ in inner):
            score = sum(scores[step, label] for step, label in enumerate(path))
            best = max(best, score - switch * (len(parts) - 1))
    return best


@pytest.mark.parametrize("seed", range(6))
def test_the_path_is_the_best_of_all(seed: int):
    random = np.random.default_rng(seed)
    probability = random.dirichlet([0.6, 0.6, 0.6], 8).astype(np.float32)
    least, switch = (2, 3, 1), 0.7
    path = best_path(probability, least, switch)
    scores = np.log(np.maximum(probability.astype(float), 0.01))
    parts = runs(path)
    assert all(end - begin >= least[path[begin]] for begin, end, _ in parts[1:-1])
    score = scores[np.arange(8), path].sum() - switch * (len(parts) - 1)
    assert score == pytest.approx(brute(probability, least, switch), abs=1e-6)


def head() -> TimelineHead:
    rows, targets = made()
    bins = Bins.of(rows)
    forest = grow(bins.apply(rows), targets, np.ones(len(rows)), FEW)
    around = context_rows(forest.predict(bins.apply(rows)), 0.1)
    edges = Bins.of(around)
    second = grow(edges.apply(around), targets, np.ones(len(rows)), FEW)
    track = LabelTrack(("run", ""), "", "", (), (2, 1), 1.0, forest, forest, (edges, second))
    return TimelineHead(0.1, bins, (track,), {"points": ["a"]})


def test_a_head_is_the_same_after_it_was_saved():
    first = head()
    again = TimelineHead.restore(first.config(), first.state())
    binned = first.bins.apply(made(2)[0])
    one = first.tracks[0].probabilities(binned, 0.1)
    np.testing.assert_array_equal(one, again.tracks[0].probabilities(binned, 0.1))
    bouts = list(first.tracks[0].bouts(one))
    assert {bout.label for bout in bouts} == {"run"}  # the background gives none
    assert first.labels == ("run",)


@pytest.mark.parametrize("name", ["step_s", "tracks", "source"])
def test_a_damaged_head_is_refused(name: str):
    config = head().config()
    config.pop(name)
    refused(ModelError, "malformed", TimelineHead.restore, config, head().state())
    config = head().config()
    config["tracks"][0]["least"] = [0]
    refused(ModelError, "malformed", TimelineHead.restore, config, head().state())

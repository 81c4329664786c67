"""The measures of ``evals/``: scene bias, McNemar's test, the seen-unseen area."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlar.errors import MetricError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "evals"))
from measures import mcnemar, scene_bias, scene_distance, seen_unseen_area

sys.path.pop(0)


def test_mcnemar_is_the_exact_binomial():
    first = [True] * 8 + [False] * 2 + [True] * 5
    second = [False] * 8 + [True] * 2 + [True] * 5
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (8, 2)
    assert found.p == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert mcnemar(first, first).p == 1


def test_the_seen_unseen_area_is_that_of_the_best_answers_and_of_none():
    of_seen = np.array([True] * 4 + [False] * 4)
    sure = np.array([1.0] * 4 + [-1.0] * 4)
    assert seen_unseen_area(sure, of_seen, ~of_seen, of_seen) == 1.0
    assert seen_unseen_area(-sure, of_seen, ~of_seen, of_seen) == 0.0
    nothing = np.zeros(8)  # one threshold: all clips are of one side, or all of the other
    assert seen_unseen_area(nothing, of_seen, ~of_seen, of_seen) == 0.5
    half = np.array([True, False] * 4)
    assert seen_unseen_area(sure, of_seen & half, ~of_seen & half, of_seen) == 0.25
    with pytest.raises(MetricError, match="no clip shows unseen labels"):
        seen_unseen_area(sure, of_seen, of_seen, np.ones(8, bool))


def planted(bias: float, seed: int = 0, n: int = 400):
    """Scores of a model that goes by the action, and by the scene as far as ``bias``."""
    random = np.random.default_rng(seed)
    unknown = np.arange(n) % 2 == 0
    distance = random.random(n)
    scores = unknown + 0.7 * random.normal(size=n) + bias * distance
    return scores, unknown, distance


def test_a_model_that_goes_by_scenes_has_a_positive_gap():
    plain, biased = (scene_bias(*planted(bias), groups=3) for bias in (0.0, 2.0))
    assert abs(plain.gap) < 0.06
    assert biased.unknown_gap > 0.2
    assert biased.known_gap > 0.2
    assert biased.worst < plain.worst
    assert list(biased.distance) == sorted(biased.distance)


def test_shuffled_scenes_have_no_gap():
    scores, unknown, distance = planted(2.0)
    gaps = [
        scene_bias(scores, unknown, np.random.default_rng(seed).permutation(distance)).gap
        for seed in range(20)
    ]
    assert abs(np.mean(gaps)) < 0.02


def test_scores_that_are_the_distance_alone_have_the_largest_gap():
    distance = np.array([0.1, 0.9, 0.2, 0.8])
    found = scene_bias(distance, [True, True, False, False], distance)
    assert found.unknown == (0.0, 1.0)
    assert found.known == (0.5, 0.5)
    assert found.unknown_gap == 1.0
    assert found.known_gap == 0.0
    assert found.gap == 0.5
    assert found.to_dict()["gap"] == 0.5


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_distance_is_one_minus_the_nearest_cosine(seed: int, m: int, n: int):
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(m, 4)), random.normal(size=(n, 4))
    found = scene_distance(a, b)
    cosine = a @ b.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
    assert found == pytest.approx(1 - cosine.max(axis=1))
    assert scene_distance(3 * b, b) == pytest.approx(np.zeros(n), abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (([0.1, 0.2], [True, False], [1.0]), "2 scores and 1 distances"),
        (([0.1, 0.2, 0.3], [True, False, False], [1.0, 2.0, 3.0]), "2 groups of 1 unknown"),
        (([0.1, np.nan], [True, False], [1.0, 2.0]), "nan"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: tuple, what: str):
    with pytest.raises(MetricError, match=what):
        scene_bias(*arguments)


def test_scenes_of_other_widths_and_empty_ones_are_refused():
    with pytest.raises(MetricError, match="one width"):
        scene_distance([[1.0, 0.0]], [[1.0]])
    with pytest.raises(MetricError, match="zero"):
        scene_distance([[0.0, 0.0]], [[1.0, 0.0]])

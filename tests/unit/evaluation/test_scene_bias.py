from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlar.errors import MetricError
from vlar.evaluation.scene_bias import scene_bias, scene_distance


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

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from tests.refusals import refused
from vlar.errors import MetricError
from vlar.metrics.calibration import expected_calibration_error, keeping_threshold, reliability

seeds = st.integers(0, 2**32 - 1)


def answers(seed: int, n: int | None = None):
    random = np.random.default_rng(seed)
    stated = random.random(n or int(random.integers(1, 80)))
    return stated, random.random(len(stated)) < stated


@given(seeds, st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_the_bins_equal_scikit_learn(seed: int, bins: int):
    stated, right = answers(seed)
    rows = reliability(stated, right, bins=bins)
    true, predicted = calibration_curve(right, stated, n_bins=bins)
    assert [row.right for row in rows] == pytest.approx(true.tolist())
    assert [row.stated for row in rows] == pytest.approx(predicted.tolist())
    assert sum(row.count for row in rows) == len(stated)
    assert all(row.low <= row.stated <= row.high for row in rows)


def test_the_error_is_the_weighted_gap():
    stated = [0.9, 0.9, 0.9, 0.2]
    assert expected_calibration_error(stated, [1, 1, 0, 0]) == pytest.approx(
        0.75 * (0.9 - 2 / 3) + 0.25 * 0.2
    )
    assert expected_calibration_error([1.0, 1.0], [True, True]) == 0
    assert expected_calibration_error([1.0], [False]) == 1
    assert expected_calibration_error([], []) == 0


def test_honest_probabilities_have_a_small_error_and_others_do_not():
    stated, right = answers(0, 20_000)
    assert expected_calibration_error(stated, right) < 0.02
    assert expected_calibration_error(stated, ~right) > 0.3


@given(seeds, st.floats(0.05, 1))
@settings(max_examples=60, deadline=None)
def test_the_threshold_is_the_highest_that_keeps_the_share(seed: int, keep: float):
    stated, right = answers(seed)
    found = keeping_threshold(stated, right, keep)
    if not right.any():
        assert found is None
        return
    assert found is not None
    assert (stated[right] >= found.value).mean() == found.keeps >= keep - 1e-9
    above = stated[right][stated[right] > found.value]
    assert len(above) / right.sum() < keep
    if not right.all():
        assert found.drops == (stated[~right] < found.value).mean()


def test_a_threshold_of_exact_shares():
    stated = np.linspace(0.05, 1, 20)
    found = keeping_threshold(stated, np.ones(20, bool))
    assert found is not None
    assert (found.value, found.keeps, found.drops) == (stated[1], 0.95, None)


def test_what_is_not_a_probability_is_refused():
    for stated in [[1.5], [-0.1], [np.nan]]:
        refused(MetricError, "", expected_calibration_error, stated, [True])


def test_bad_arguments_are_named():
    refused(MetricError, "shape", reliability, [0.5, 0.5], [True])
    refused(MetricError, "share of 0", keeping_threshold, [0.5], [True], 0)

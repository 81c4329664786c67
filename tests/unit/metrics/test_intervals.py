from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from tests.refusals import refused
from vlar.errors import MetricError
from vlar.metrics.intervals import bootstrap, exact_interval, mean_interval, paired

seeds = st.integers(0, 2**32 - 1)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_fast_interval_of_a_mean_is_the_general_one(seed: int):
    random = np.random.default_rng(seed)
    n = int(random.integers(2, 40))
    values = random.random(n)
    groups = [0, 1, *random.integers(6, size=n - 2)]
    fast = mean_interval(values, groups, draws=200, seed=3)
    general = bootstrap(lambda rows: float(values[rows].mean()), groups, draws=200, seed=3)
    assert fast is not None
    assert general is not None
    assert (fast.low, fast.value, fast.groups) == (
        pytest.approx(general.low),
        pytest.approx(general.value),
        general.groups,
    )
    assert fast.low - 1e-9 <= fast.high + 1e-9


@pytest.mark.slow
def test_the_interval_of_a_mean_covers_it_as_often_as_stated():
    random = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        right = random.random(60) < 0.7
        found = mean_interval(right, range(60), seed=seed)
        assert found is not None
        covered += found.low <= 0.7 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_exact_interval_is_that_of_the_binomial_test():
    for successes, trials in ((0, 1), (1, 1), (4, 4), (2, 4), (7, 30)):
        known = binomtest(successes, trials).proportion_ci(method="exact")
        found = exact_interval(successes, trials)
        assert (found.low, found.high) == (pytest.approx(known.low), pytest.approx(known.high))
        assert found.value == pytest.approx(successes / trials)


def test_four_of_four_is_not_certain():
    found = mean_interval([1, 1, 1, 1], "abcd")
    assert found is not None
    assert (round(found.low, 3), found.high) == (0.398, 1.0)


def test_clips_of_one_group_that_agree_count_once():
    found = mean_interval([0] * 40, [0] * 20 + [1] * 20)
    assert found is not None
    assert (found.low, found.groups) == (0.0, 2)
    assert found.high == pytest.approx(exact_interval(0, 2).high)


def test_an_impossible_share_is_refused():
    for successes, trials in [(0, 0), (3, 2), (-1, 2)]:
        refused(MetricError, "not a share", exact_interval, successes, trials)


def test_groups_that_stick_together_have_a_wider_interval():
    right = np.repeat(np.random.default_rng(0).random(10) < 0.5, 10)
    apart = mean_interval(right, range(100))
    together = mean_interval(right, np.repeat(np.arange(10), 10).tolist())
    assert apart is not None
    assert together is not None
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_one_group_has_no_interval():
    assert mean_interval([1, 0, 1], ["a"] * 3) is None
    assert paired([1, 0], [0, 0], ["a", "a"]) is None
    assert bootstrap(lambda rows: 0.0, ["a"]) is None


def test_paired_differences_are_sharper_than_two_intervals():
    random = np.random.default_rng(0)
    hard = random.random(200)
    first, second = hard < 0.55, hard < 0.5  # one is right wherever the other is
    found = paired(first, second, range(200))
    assert found is not None
    assert found.difference.value == pytest.approx(first.mean() - second.mean())
    assert found.difference.low > 0
    assert found.p < 0.05
    same = paired(first, first, range(200))
    assert same is not None
    assert (same.difference.low, same.difference.high, same.p) == (0, 0, 1)


def test_bad_input_is_named():
    refused(MetricError, "3 values for 2 groups", mean_interval, [1, 2, 3], [0, 1])
    refused(MetricError, "same clips", paired, [1, 2], [1], [0, 1])
    refused(MetricError, "no clip", bootstrap, lambda rows: 0.0, [])
    refused(MetricError, "nan", mean_interval, [np.nan, 1], [0, 1])

"""Two opinions as one: what must stay, what the weights do, and when they are fitted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.errors import UsageError
from vlar.generators.opinions.mixing import LEAD, Mixing, fit_mixing, heard, mix

N, C, K = 200, 9, 4


def drawn(seed: int, skill: float, opinion_skill: float):
    """Labels, a proposer and an answerer that is right as often as its skill says."""
    random = np.random.default_rng(seed)
    truth = random.integers(C, size=N)

    logits = random.normal(size=(N, C))
    logits[np.arange(N), truth] += skill
    proposer = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) * 0.9  # the rest is unknown
    options = np.argsort(-proposer, axis=1)[:, :K]
    own = random.normal(size=(N, K)) + opinion_skill * (options == truth[:, None])
    opinion = np.exp(own) / np.exp(own).sum(1, keepdims=True)
    return proposer, opinion, options, truth


@given(st.integers(0, 999), st.floats(0, 5), st.floats(0, 5))
def test_mass_outside_the_options_is_unchanged_and_that_inside_keeps_its_sum(
    seed: int, a: float, b: float
):
    proposer, opinion, options, _ = drawn(seed, 1.0, 1.0)
    before = proposer.copy()
    mixed = mix(proposer, opinion, options, a=a, b=b)
    inside = np.zeros_like(mixed, bool)
    np.put_along_axis(inside, options, True, axis=1)
    np.testing.assert_array_equal(mixed[~inside], proposer[~inside])
    own, new = (np.take_along_axis(x, options, 1).sum(1) for x in (proposer, mixed))
    np.testing.assert_allclose(new, own, rtol=1e-12)
    assert (mixed >= 0).all()
    np.testing.assert_array_equal(proposer, before)


def test_the_start_is_the_proposer_bit_for_bit():
    proposer, opinion, options, _ = drawn(0, 1.0, 1.0)
    np.testing.assert_array_equal(mix(proposer, opinion, options), proposer)
    np.testing.assert_array_equal(mix(proposer, opinion, options, a=1.0, b=0.0), proposer)


def test_a_clip_without_an_opinion_keeps_its_row_bit_for_bit():
    proposer, opinion, options, _ = drawn(1, 1.0, 1.0)
    opinion[3] = np.nan
    mixed = mix(proposer, opinion, options, a=0.7, b=2.0)
    np.testing.assert_array_equal(mixed[3], proposer[3])
    assert (mixed[4] != proposer[4]).any()


def test_a_known_case_by_hand():
    mixed = mix(np.array([[0.4, 0.2, 0.3]]), np.array([[0.25, 0.75]]), np.array([[0, 1]]), a=1, b=1)
    h = 0.98 * np.array([0.25, 0.75]) + 0.01
    shares = np.array([0.4, 0.2]) * h
    np.testing.assert_allclose(mixed[0, :2], 0.6 * shares / shares.sum(), rtol=1e-12)
    assert mixed[0, 2] == 0.3


def test_no_single_answer_is_final():
    sure = np.array([[1.0, 0.0]])
    mixed = mix(np.array([[0.01, 0.99]]), sure, np.array([[0, 1]]), a=1, b=1)
    assert mixed[0, 1] > 0.3  # zero probability is not believed


@pytest.mark.parametrize("seed", range(5))
def test_a_fit_uses_an_answerer_that_knows_and_helps_on_other_clips(seed: int):
    proposer, opinion, options, truth = drawn(seed, 1.0, 1.5)
    found = fit_mixing(proposer, opinion, options, truth)
    assert found.b > 0.4
    proposer, opinion, options, truth = drawn(seed + 100, 1.0, 1.5)
    after = mix(proposer, opinion, options, a=found.a, b=found.b)
    assert (after.argmax(1) == truth).mean() > (proposer.argmax(1) == truth).mean() + 0.05


@pytest.mark.parametrize("seed", range(8))
def test_a_fit_does_not_follow_a_random_answerer(seed: int):
    proposer, _, options, truth = drawn(seed, 1.0, 0.0)
    random = np.random.default_rng(seed).dirichlet(np.ones(K), N)
    found = fit_mixing(proposer, random, options, truth)
    assert found.b < 0.15
    after = mix(proposer, random, options, a=found.a, b=found.b)
    assert abs((after.argmax(1) == truth).mean() - (proposer.argmax(1) == truth).mean()) < 0.03


@given(st.integers(0, 10_000), st.floats(-2, 2), st.integers(2, 40))
def test_a_fit_is_never_worse_on_its_own_clips(seed: int, skill: float, n: int):
    proposer, opinion, options, truth = (x[:n] for x in drawn(seed, 1.0, skill))
    found = fit_mixing(proposer, opinion, options, truth)
    after = mix(proposer, opinion, options, a=found.a, b=found.b)
    rows = np.arange(n)
    loss = -np.log(np.maximum(after[rows, truth], 1e-300)).mean()
    before = -np.log(np.maximum(proposer[rows, truth], 1e-300)).mean()
    assert loss <= before + 1e-9
    assert (after.argmax(1) == truth).sum() >= (proposer.argmax(1) == truth).sum()


def test_too_few_clips_fit_nothing_and_one_group_is_as_none():
    proposer, opinion, options, truth = drawn(3, 1.0, 3.0)
    assert fit_mixing(proposer[:1], opinion[:1], options[:1], truth[:1]).is_proposer
    one = fit_mixing(proposer, opinion, options, truth, groups=["one"] * N)
    assert one == fit_mixing(proposer, opinion, options, truth)  # a single group cannot be divided
    nowhere = np.full(N, -1)  # the right label is never among the options
    assert fit_mixing(proposer, opinion, options, nowhere).is_proposer


def test_shapes_and_weights_that_cannot_be_are_refused():
    proposer, opinion, options, truth = drawn(5, 1.0, 1.0)
    refused(UsageError, "do not fit", mix, proposer, opinion[:, :2], options)
    refused(UsageError, "outside the 9 labels", mix, proposer, opinion, options + C)
    refused(UsageError, "right labels", fit_mixing, proposer, opinion, options, truth[:5])
    refused(UsageError, "0 or more", Mixing, 1.0, -1.0)
    refused(UsageError, "0 or more", mix, proposer, opinion, options, a=float("nan"))


@pytest.mark.parametrize("seed", range(8))
def test_without_a_fit_random_answers_change_little(seed: int):
    proposer, _, options, truth = drawn(seed, 1.0, 0.0)
    random = np.random.default_rng(seed).dirichlet(np.ones(K), N)
    opinion, weight = heard(random, None)
    after = mix(proposer, opinion, options, b=weight)
    share = (proposer.argmax(1) == truth).mean()
    assert (after.argmax(1) == truth).mean() > share - 0.05
    equal = mix(proposer, random, options, a=1, b=1)
    assert (equal.argmax(1) != proposer.argmax(1)).mean() > 0.25  # what it used to move
    assert (after.argmax(1) != proposer.argmax(1)).mean() < 0.1


def test_an_opinion_counts_only_where_one_option_leads():
    rows = np.array([[0.6, 0.4, 0], [0.61, 0.39, 0], [1 / 3] * 3, [np.nan] * 3])
    opinion, weight = heard(rows, None)
    np.testing.assert_array_equal(np.isfinite(opinion).all(1), [False, True, False, False])
    np.testing.assert_array_equal(opinion[1], rows[1])
    assert 0 < weight < LEAD < 1
    opinion, weight = heard(rows, 0.7)
    np.testing.assert_array_equal(opinion, rows)
    assert weight == 0.7


def test_one_weight_orders_the_options_as_both_do():
    proposer, opinion, options, _ = drawn(6, 1.0, 1.0)
    fitted = Mixing(0.5, 2.0)
    both = mix(proposer, opinion, options, a=fitted.a, b=fitted.b)
    one = mix(proposer, opinion, options, b=fitted.weight)
    assert fitted.weight == 4.0
    for row, other, columns in zip(both, one, options, strict=True):
        np.testing.assert_array_equal(np.argsort(row[columns]), np.argsort(other[columns]))

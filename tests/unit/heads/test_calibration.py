"""Several labels at once, and curves that make probabilities honest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.errors import ModelError, UsageError
from vlar.heads.calibration import Calibration, fit_calibration
from vlar.heads.concept_heads import EACH_PRIOR, MultiLabelScorer
from vlar.heads.logistic import fit_logistic, logistic, logit, refit_logistic
from vlar.heads.zero_shot import ZeroShotScorer, match_probability
from vlar.metrics.calibration import expected_calibration_error
from vlar.numeric import unit

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10_000)
slopes = st.floats(0.1, 8.0)
centres = st.floats(-4.0, 4.0)


def vectors(seed: int, n: int, width: int = 48):
    return unit(np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32))


def answers(seed: int, n: int, c: int, sharpness: float):
    """Labels drawn from known probabilities, and the probabilities of an over-sure model."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, c)) * 1.5
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([random.choice(c, p=row) for row in true])
    said = np.exp(sharpness * logits)
    return said / said.sum(axis=1, keepdims=True), labels


# Several labels at once


@few
@given(seeds, st.integers(1, 6), st.integers(0, 50))
def test_each_label_is_scored_as_if_it_stood_alone(seed: int, c: int, b: int):
    video, concepts, background = vectors(seed, 3), vectors(seed + 1, c), vectors(seed + 2, b)
    together = MultiLabelScorer(concepts, background, logit_scale=10.0).score(video)
    assert ((together.probability >= 0) & (together.probability <= 1)).all()
    for column, concept in enumerate(concepts):
        alone = MultiLabelScorer(concept[None], background, logit_scale=10.0).score(video)
        np.testing.assert_allclose(
            together.probability[:, column], alone.probability[:, 0], atol=1e-5
        )
        if not b:  # nothing to compare with: the prior
            np.testing.assert_allclose(together.probability, EACH_PRIOR)
            continue
        matched = match_probability(video, concept, background, logit_scale=10.0)
        np.testing.assert_allclose(together.probability[:, column], matched, atol=1e-5)


@few
@given(seeds)
def test_unknown_is_the_answer_exactly_where_no_label_reaches_a_half(seed: int):
    scorer = MultiLabelScorer(
        vectors(seed, 4, 6), vectors(seed + 1, 40, 6), logit_scale=20.0, prior=0.3
    )
    scores = scorer.score(vectors(seed + 2, 20, 6))
    np.testing.assert_array_equal(scores.is_unknown, (scores.probability < 0.5).all(axis=1))


def test_a_nearer_row_is_likelier_and_nothing_shown_is_nothing():
    concept, background = vectors(1, 1), vectors(2, 40)
    away = unit(vectors(3, 1) - (vectors(3, 1) @ concept.T) * concept)
    steps = unit(np.linspace(0, 1, 6)[:, None] * concept + np.linspace(1, 0, 6)[:, None] * away)
    rows = steps.astype(np.float32)
    probability = (
        MultiLabelScorer(concept, background, logit_scale=30.0).score(rows).probability[:, 0]
    )
    assert probability[-1] > 0.9 > 0.1 > probability[0]
    blank = vectors(5, 1)
    references = unit(np.repeat(blank, 4, axis=0) + 0.05 * vectors(6, 4))
    scored = MultiLabelScorer(concept, background, logit_scale=30.0, content_free=references)
    assert scored.score(blank).unknown[0] > 0.9


def test_each_scorer_refuses_what_the_scorer_refuses():
    refused(UsageError, "no label", MultiLabelScorer, vectors(0, 0), vectors(1, 3), logit_scale=1.0)
    with pytest.raises(UsageError, match="prior"):
        MultiLabelScorer(vectors(0, 1), vectors(1, 3), logit_scale=1.0, prior=1.0)


def test_hubness_is_taken_off_by_as_much_as_is_asked():
    concepts, background = vectors(1, 4), vectors(2, 60)
    rows = unit(vectors(3, 5) + background.mean(axis=0))
    plain = ZeroShotScorer(concepts, background, logit_scale=9.0, genericness=0.0).score(rows)
    order = np.argsort(plain.similarity, axis=1)
    np.testing.assert_array_equal(np.argsort(plain.probability, axis=1), order)
    more = ZeroShotScorer(concepts, background, logit_scale=9.0, genericness=1.0).score(rows)
    assert (more.probability != plain.probability).any()


# Curves


@few
@given(seeds, slopes, centres, slopes, centres)
def test_calibrated_rows_sum_to_one_and_keep_their_order(seed, slope, centre, unknown_slope, best):
    random = np.random.default_rng(seed)
    probability, unknown = random.dirichlet(np.ones(5), size=6), random.uniform(size=6)
    probability *= (1 - unknown)[:, None]
    fitted = Calibration(slope, centre, unknown_slope, best_centre=best, best_slope=slope)
    labels, nothing = fitted.one(probability, unknown)
    np.testing.assert_allclose(labels.sum(axis=1) + nothing, 1)
    assert ((labels >= 0) & (labels <= 1)).all()
    some = nothing < 1  # else nothing is left to be ordered
    np.testing.assert_array_equal(labels[some].argmax(axis=1), probability[some].argmax(axis=1))
    assert (np.diff(nothing[np.argsort(unknown)]) >= 0).all()
    each, none = fitted.each(probability)
    assert ((each >= 0) & (each <= 1)).all()
    np.testing.assert_allclose(none, 1 - each.max(axis=1))


def test_a_new_calibration_changes_nothing():
    probability, unknown = np.array([[0.5, 0.2], [1e-5, 0.9]]), np.array([0.3, 0.09999])
    labels, nothing = Calibration().one(probability, unknown)
    np.testing.assert_allclose(labels, probability, atol=1e-6)
    np.testing.assert_allclose(nothing, unknown, atol=1e-6)
    np.testing.assert_allclose(Calibration().each(probability)[0], probability, atol=1e-6)


@few
@given(seeds, st.sampled_from([0.3, 3.0]))
def test_fitting_lowers_the_loss_and_the_calibration_error(seed: int, sharpness: float):
    said, labels = answers(seed, 600, 5, sharpness)
    fitted = fit_calibration(said, labels)
    curved, _ = fitted.one(said, np.zeros(600))
    rows = np.arange(600)
    assert np.log(curved[rows, labels]).mean() > np.log(said[rows, labels] + 1e-12).mean()
    assert fitted.slope == pytest.approx(1 / sharpness, rel=0.35)
    right = said.argmax(axis=1) == labels
    before = expected_calibration_error(said.max(axis=1), right)
    assert expected_calibration_error(curved.max(axis=1), right) < min(before, 0.09)


def test_unknown_and_each_label_are_fitted_too():
    random = np.random.default_rng(0)
    said, labels = answers(1, 300, 4, 1.0)
    known, strangers = random.normal(1, 1, 300), random.normal(2, 1, 300)
    each = logistic(logit(said) - 3, 0.0, 1.0)
    fitted = fit_calibration(
        said,
        labels,
        unknown=logistic(known, 0.0, 1.0),
        outside=logistic(strangers, 0.0, 1.0),
        each=each,
        unknown_share=0.5,
    )
    assert fitted.unknown_centre == pytest.approx(1.5, abs=0.3)
    assert fitted.each(each)[0].mean() == pytest.approx(0.25, abs=0.02)
    rarer = fit_calibration(
        said, labels, unknown=known * 0 + 0.5, outside=known * 0 + 0.6, unknown_share=0.02
    )
    _, nothing = rarer.one(said, np.full(300, 0.5))
    assert nothing.mean() < 0.1


def test_the_best_label_is_stated_as_often_as_it_is_right_and_the_others_follow():
    said = np.tile([0.7, 0.2, 0.1], (400, 1))
    labels = np.where(np.arange(400) % 2 == 0, 0, 1)  # the rest is never the third label
    fitted = fit_calibration(said, labels)
    curved, _ = fitted.one(said, np.zeros(400))
    assert curved[0, 0] == pytest.approx(0.5, abs=0.01)
    assert (np.diff(curved[0]) < 0).all()


@few
@given(st.floats(-1.0, 1.0), st.booleans())
def test_few_cases_leave_log_odds_nearly_as_they_are_stated(value: float, right: bool):
    values = np.array([value])
    centre, slope = refit_logistic(values, np.array([right]), doubt=4.0)
    assert abs(centre) < 0.3
    assert slope == pytest.approx(1, abs=0.3)
    moved = logistic(values, centre, slope) - logistic(values, 0.0, 1.0)
    assert (moved > 0) == right


def test_many_cases_find_the_curve_that_comes_true():
    random = np.random.default_rng(0)
    values = random.normal(size=4000) * 2
    right = random.uniform(size=4000) < logistic(values, 1.0, 0.5)
    centre, slope = refit_logistic(values, right, doubt=4.0)
    assert centre == pytest.approx(1.0, abs=0.3)
    assert slope == pytest.approx(0.5, abs=0.08)


def test_a_logistic_curve_finds_the_middle_and_never_falls():
    random = np.random.default_rng(0)
    centre, slope = fit_logistic(random.normal(4, 1, 400), random.normal(2, 1, 400))
    assert centre == pytest.approx(3, abs=0.2)
    assert slope == pytest.approx(2, abs=0.4)
    _, wrong_way = fit_logistic(np.array([0.0, 1.0]), np.array([5.0, 6.0]))
    assert wrong_way > 0


def test_what_cannot_be_fitted_or_restored_is_refused():
    said, labels = answers(0, 10, 3, 1.0)
    refused(UsageError, "share of unknown is 1", fit_calibration, said, labels, unknown_share=1.0)
    refused(UsageError, "slopes", Calibration, slope=0.0)
    assert Calibration.restore(Calibration(2.0, 0.5).to_dict()) == Calibration(2.0, 0.5)
    for settings_ in ({"slope": "steep"}, {"slop": 1.0}, {"slope": -1.0}):
        refused(ModelError, "calibrate again", Calibration.restore, settings_)

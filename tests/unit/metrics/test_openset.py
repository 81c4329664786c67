from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from tests.refusals import refused
from vlar.errors import MetricError
from vlar.metrics.openset import aupr, auroc, fpr_at, open_f1, openness, oscr

seeds = st.integers(0, 2**32 - 1)


def problem(seed: int):
    random = np.random.default_rng(seed)
    n = int(random.integers(2, 60))
    unknown = random.random(n) < 0.5
    unknown[:2] = True, False
    return random.normal(size=n).round(int(random.integers(0, 4))) + unknown, unknown


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_areas_equal_scikit_learn(seed: int):
    scores, unknown = problem(seed)
    assert auroc(scores, unknown) == pytest.approx(
        sklearn.roc_auc_score(unknown, scores), abs=1e-12
    )
    assert auroc(unknown.astype(int), scores) == auroc(scores, unknown)
    theirs = sklearn.average_precision_score(unknown, scores)
    assert aupr(scores, unknown) == pytest.approx(theirs, abs=1e-12)
    above = scores[unknown][:, None] - scores[~unknown][None]
    assert auroc(scores, unknown) == pytest.approx(((above > 0) + 0.5 * (above == 0)).mean())


@given(seeds, st.sampled_from([0.5, 0.95, 1.0]))
@settings(max_examples=60, deadline=None)
def test_fpr_is_the_least_over_thresholds(seed: int, tpr: float):
    scores, unknown = problem(seed)
    rejected = [scores >= threshold for threshold in np.unique(scores)]
    shares = [r[~unknown].mean() for r in rejected if r[unknown].mean() >= tpr - 1e-12]
    assert fpr_at(scores, unknown, tpr) == pytest.approx(min(shares))


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_oscr_with_all_answers_right_is_auroc_and_falls_with_accuracy(seed: int):
    scores, unknown = problem(seed)
    assert oscr(scores, unknown, np.ones(len(scores))) == pytest.approx(auroc(scores, unknown))
    assert oscr(scores, unknown, np.zeros(len(scores))) == 0
    half = np.random.default_rng(seed).random(len(scores)) < 0.5
    assert oscr(scores, unknown, half) <= half[~unknown].mean() + 1e-12


def test_openness():
    assert openness(14, 7) == pytest.approx(0.105573, abs=1e-6)
    assert openness(5, 0) == 0
    refused(MetricError, "", openness, 0, 1)


def test_open_f1_of_a_perfect_rejector_is_1():
    truth = ["a", "a", "b", "x", "y", "z"]
    assert open_f1(truth, ["a", "a", "b", None, None, None], known=["a", "b"]) == 1
    assert open_f1(truth[:3], ["a", "a", "b"]) == 1
    assert open_f1([0, 1, 2], [0, 1, None], known=[0, 1]) == 1


def test_open_f1_is_weighted_by_openness():
    truth, answers = ["a", "b", "x", "y"], ["a", "b", None, "b"]
    # one unknown class: f1 of a, b, unknown is 1 without y, and (1, 2/3, 0) without x
    alone = [1.0, np.mean([1, 2 / 3, 0])]
    both = sklearn.f1_score([0, 1, 2, 2], [0, 1, 2, 1], average="macro")
    found = open_f1(truth, answers, known=["a", "b"], draws=300)
    weights = openness(2, 1), openness(2, 2)
    assert found == pytest.approx(np.average([np.mean(alone), both], weights=weights), abs=0.03)
    assert open_f1(truth, answers, known=["a", "b"]) == open_f1(truth, answers, known=["a", "b"])


def test_accepting_everything_is_worse_than_rejecting_the_unknown():
    truth = ["a", "b", "x", "x"]
    assert open_f1(truth, ["a", "b", "a", "b"], known=["a", "b"]) < 0.5


def test_one_kind_of_clip_is_refused():
    for figure in (auroc, aupr, fpr_at):
        refused(MetricError, "all 2 clips are known", figure, [0.1, 0.2], [False, False])
        refused(MetricError, "nan", figure, [0.1, np.nan], [False, True])
    refused(MetricError, "one answer a clip", open_f1, ["a"], [])
    refused(MetricError, "no label is known", open_f1, ["a"], [None])

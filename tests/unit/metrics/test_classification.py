"""Accuracy, agreement and ranking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn
from sklearn.metrics import label_ranking_average_precision_score

from tests.refusals import refused
from vlar.errors import MetricError, UsageError
from vlar.metrics import classification
from vlar.metrics.classification import multilabel_map, retrieval, retrieval_both_ways

seeds = st.integers(0, 2**32 - 1)


def problem(seed: int, ties: bool = False):
    """Scores (N, C) and right labels (N,); every label may be missing."""
    random = np.random.default_rng(seed)
    n, c = int(random.integers(1, 40)), int(random.integers(2, 9))
    scores = random.normal(size=(n, c))
    return (scores.round(0) if ties else scores), random.integers(c, size=n)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_accuracies_equal_scikit_learn(seed: int):
    scores, truth = problem(seed)
    best = scores.argmax(axis=1)
    columns = range(scores.shape[1])
    assert classification.top_k(scores, truth) == pytest.approx(sklearn.accuracy_score(truth, best))
    if scores.shape[1] > 2:
        theirs = sklearn.top_k_accuracy_score(truth, scores, k=2, labels=columns)
        assert classification.top_k(scores, truth, 2) == pytest.approx(theirs)
    theirs = sklearn.recall_score(
        truth, best, labels=np.unique(truth), average="macro", zero_division=0
    )
    assert classification.macro_accuracy(best == truth, truth) == pytest.approx(theirs)


@given(seeds, st.booleans())
@settings(max_examples=40, deadline=None)
def test_several_labels_equal_scikit_learn(seed: int, ties: bool):
    scores, _ = problem(seed, ties)
    truth = np.random.default_rng(seed).random(scores.shape) < 0.4
    truth[0, 0] = True
    there = truth.any(axis=0)
    found = multilabel_map(scores, truth)
    macro = sklearn.average_precision_score(truth[:, there], scores[:, there], average="macro")
    micro = sklearn.average_precision_score(truth, scores, average="micro")
    assert (found.macro, found.micro) == (pytest.approx(macro), pytest.approx(micro))
    assert [value is not None for value in found.per_label] == there.tolist()


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_ranks_are_the_places_in_a_stable_order(seed: int):
    scores, truth = problem(seed, ties=True)
    order = np.argsort(-scores, axis=1, kind="stable")
    places = [row.tolist().index(label) for row, label in zip(order, truth, strict=True)]
    assert classification.ranks(scores, truth).tolist() == places


def test_a_label_without_clips_has_no_accuracy_and_does_not_count():
    each = classification.per_label([True, False, True], [0, 0, 2], 3)
    assert each[[0, 2]].tolist() == [0.5, 1.0]
    assert np.isnan(each[1])
    assert classification.macro_accuracy([True, False, True], [0, 0, 2]) == 0.75


def test_confusions_by_falling_count():
    found = classification.confusions(["a", "a", "a", "b", "c"], ["b", "b", "a", "c", "b"])
    assert [(row.truth, row.answer, row.count, row.of) for row in found] == [
        ("a", "b", 2, 3),
        ("b", "c", 1, 1),
        ("c", "b", 1, 1),
    ]
    assert found[0].sentence() == "a is taken for b, 2 of 3"
    assert classification.confusions(["a"], ["a"]) == []


def test_generalised_zero_shot_is_the_harmonic_mean_of_both_sides():
    scores = np.eye(4)[[0, 0, 1, 2, 3, 3]]  # answers 0 0 1 2 3 3
    found = classification.generalised_zero_shot(
        scores, [0, 1, 1, 2, 2, 3], [True, True, False, False]
    )
    assert (found.seen, found.unseen) == (0.75, 0.75)
    assert found.harmonic_mean == 0.75
    assert classification.harmonic_mean(0.6, 0.3) == pytest.approx(0.4)
    assert classification.harmonic_mean(0, 1) == 0
    with pytest.raises(MetricError, match="no clip shows unseen"):
        classification.generalised_zero_shot(scores[:3], [0, 1, 1], [True, True, False, False])


def test_what_no_metric_is_defined_for_is_named():
    for scores, truth, said in [
        ([[0.1, np.nan]], [0], "nan at"), ([[0.1, np.inf]], [0], "inf at"),
        (np.zeros((0, 2)), np.zeros(0, int), "shape"), ([0.1, 0.2], [0, 1], "2 axes"),
        ([[0.1, 0.2]], [2], "label 2 is not"), ([[0.1, 0.2]], [-1], "label -1 is not"),
        ([[0.1, 0.2]], [0, 1], "one column number for each"), ([[0.1, 0.2]], [0.5], "float64"),
    ]:  # fmt: skip
        caught = refused(MetricError, said, classification.top_k, scores, truth)
        assert isinstance(caught.value, UsageError)
        assert isinstance(caught.value, ValueError)


def test_average_precision_needs_something_relevant():
    with pytest.raises(MetricError, match="no row is relevant"):
        classification.average_precision([0.1, 0.2], [False, False])
    refused(MetricError, "no clip shows any", multilabel_map, [[0.1, 0.2]], [[0, 0]])
    refused(MetricError, "other than 0 and 1", multilabel_map, [[0.1, 0.2]], [[0, 2]])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_map_equals_scikit_learn_on_its_transposed_problem(seed: int):
    random = np.random.default_rng(seed)
    scores = random.normal(size=(int(random.integers(1, 8)), int(random.integers(2, 30))))
    relevant = random.random(scores.shape) < 0.3
    relevant[:, 0] = True
    found = retrieval(scores, relevant)
    theirs = label_ranking_average_precision_score(relevant, scores)
    assert found["mAP"] == pytest.approx(theirs)
    order = np.argsort(-scores, axis=1)
    first = [int(np.flatnonzero(relevant[q][order[q]])[0]) + 1 for q in range(len(scores))]
    assert found["median_rank"] == np.median(first)
    for k in (1, 5, 10):
        assert found[f"R@{k}"] == np.mean(np.array(first) <= k)


def test_both_ways():
    scores = np.array([[0.9, 0.8, 0.1], [0.95, 0.2, 0.3]])
    relevant = np.array([[1, 0, 1], [0, 1, 0]], bool)
    with_three = np.vstack([scores, [0.1, 0.9, 0.2]]), np.vstack([relevant, [0, 1, 0]])
    found = retrieval_both_ways(*with_three, ks=(1, 2))
    assert found["text_to_video"]["R@1"] == pytest.approx(2 / 3)
    assert found["text_to_video"]["median_rank"] == 1
    assert found["video_to_text"]["R@1"] == pytest.approx(1 / 3)


def test_equal_scores_earn_nothing():
    found = retrieval(np.zeros((2, 10)), np.eye(10, dtype=bool)[:2])
    assert found["R@1"] == found["R@5"] == 0
    assert found["R@10"] == 1
    assert found["median_rank"] == 10
    assert found["mAP"] == pytest.approx(0.1)


def test_a_query_without_a_right_answer_is_named():
    with pytest.raises(MetricError, match="query 1 has no relevant row"):
        retrieval(np.ones((2, 2)), [[1, 0], [0, 0]])
    refused(MetricError, "nan", retrieval, [[np.nan, 1]], [[1, 0]])

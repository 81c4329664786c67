from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score

from vlar.errors import MetricError
from vlar.metrics.ranking import retrieval, retrieval_both_ways


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
    with pytest.raises(MetricError, match="nan"):
        retrieval([[np.nan, 1]], [[1, 0]])

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.errors import MetricError
from vlar.evaluation.compositional import evaluate_pairs, pair_faults

GOLDEN = Path(__file__).parents[2] / "golden" / "compositional_eval.json"
NAMES = {
    "verb_accuracy": "attr_acc",
    "object_accuracy": "obj_acc",
    "seen": "ub_seen",
    "unseen": "ub_unseen",
    "all": "ub_all",
    "best_seen": "best_seen",
    "best_unseen": "best_unseen",
    "best_hm": "best_hm",
    "auc": "AUC",
}
PAIRS = [("open", "door"), ("open", "book"), ("close", "door"), ("close", "book")]
TRAIN = PAIRS[:3]


@pytest.mark.parametrize("case", json.loads(GOLDEN.read_text())["cases"])
def test_the_published_figures(case):
    found = evaluate_pairs(
        np.array(case["scores"]),
        [tuple(pair) for pair in case["pairs"]],
        [tuple(pair) for pair in case["truth"]],
        train_pairs=[tuple(pair) for pair in case["train_pairs"]],
        target_pairs=[tuple(pair) for pair in case["test_pairs"]],
    ).to_dict()
    for name, theirs in NAMES.items():
        assert found[name] == pytest.approx(case["expected"][theirs], abs=1e-6), name


def test_perfect_scores():
    truth = [*PAIRS, PAIRS[0]]
    scores = np.array([[float(pair == shown) for pair in PAIRS] for shown in truth])
    found = evaluate_pairs(scores, PAIRS, truth, train_pairs=TRAIN, target_pairs=PAIRS)
    assert found.verb_accuracy == found.object_accuracy == found.all == 1
    assert found.seen == found.unseen == found.best_seen == found.best_unseen == 1


def test_pairs_that_are_not_candidates_are_never_answered():
    pairs = [*PAIRS, ("tear", "book")]
    scores = np.eye(5)[[0, 3]] + 9 * np.eye(5)[[4, 4]]
    found = evaluate_pairs(
        scores, pairs, [PAIRS[0], PAIRS[3]], train_pairs=TRAIN, target_pairs=PAIRS
    )
    assert found.all == 1
    opened = evaluate_pairs(
        scores, pairs, [PAIRS[0], PAIRS[3]], train_pairs=TRAIN, target_pairs=pairs
    )
    assert opened.all == 0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_shares_and_order_of_clips(seed: int):
    random = np.random.default_rng(seed)
    truth = [*PAIRS, *(PAIRS[i] for i in random.integers(4, size=12))]
    scores = random.normal(size=(len(truth), 4))
    given_ = {"train_pairs": TRAIN, "target_pairs": PAIRS}
    found = evaluate_pairs(scores, PAIRS, truth, **given_).to_dict()
    assert all(0 <= value <= 1 for value in found.values())
    # the bias 0 need not be among those tried, so best_seen may lie below seen
    assert found["best_unseen"] >= found["unseen"] - 1e-12
    order = random.permutation(len(truth))
    again = evaluate_pairs(scores[order], PAIRS, [truth[i] for i in order], **given_).to_dict()
    assert again == pytest.approx(found)


def test_faults_fall_back_on_seen_and_frequent_pairs():
    truth = [PAIRS[3]] * 4 + [PAIRS[0]]
    scores = np.eye(4)[[3, 0, 0, 1, 0]]
    counts = {PAIRS[0]: 100, PAIRS[1]: 1, PAIRS[2]: 1}
    found = pair_faults(scores, PAIRS, truth, train_counts=counts, target_pairs=PAIRS)
    assert found.seen_instead == 1
    assert found.frequent_instead == pytest.approx(2 / 3)
    # the pair is right twice of five, the verb 2 of 5, the object 3 of 5
    assert found.gap == pytest.approx(2 / 5 - 2 / 5 * 3 / 5)


def test_what_cannot_be_evaluated_is_named():
    scores = np.zeros((2, 4))
    given_ = {"train_pairs": TRAIN, "target_pairs": PAIRS}
    with pytest.raises(MetricError, match="unseen pairs"):
        evaluate_pairs(scores, PAIRS, [PAIRS[0], PAIRS[1]], **given_)
    with pytest.raises(MetricError, match="'tear book'"):
        evaluate_pairs(scores, PAIRS, [PAIRS[0], ("tear", "book")], **given_)
    refused(MetricError, "3 clips", evaluate_pairs, scores, PAIRS, PAIRS[:3], **given_)
    with pytest.raises(MetricError, match="nan"):
        evaluate_pairs(scores * np.nan, PAIRS, [PAIRS[0], PAIRS[3]], **given_)
    with pytest.raises(MetricError, match="twice"):
        evaluate_pairs(np.zeros((1, 2)), [PAIRS[0]] * 2, [PAIRS[0]], **given_)

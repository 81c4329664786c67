from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlar.heads.model_selection import fit_rejector, keep_right
from vlar.heads.reject import Familiarity, upper_bound


def clusters(n_labels: int, shots: int, spread: float, seed: int = 0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_labels + 3, 64))
    rows = centres[:, None] + spread * rng.normal(size=(n_labels + 3, shots, 64))
    known = rows[:n_labels].reshape(-1, 64).astype(np.float32)
    unknown = rows[n_labels:].reshape(-1, 64).astype(np.float32)
    fresh = centres[:n_labels, None] + spread * rng.normal(size=(n_labels, shots, 64))
    labels = [f"label {i}" for i in range(n_labels) for _ in range(shots)]
    return known, labels, fresh.reshape(-1, 64).astype(np.float32), unknown


@pytest.mark.parametrize("shots", [1, 3, 8])
def test_strangers_are_more_novel_than_kin(shots: int):
    support, labels, fresh, strangers = clusters(5, shots, 0.4)
    novelty = Familiarity().fit(support, labels, [str(i) for i in range(len(labels))])
    assert novelty.probability(fresh).mean() < 0.35
    assert novelty.probability(strangers).mean() > 0.65


def test_probability_falls_with_familiarity():
    support, labels, fresh, strangers = clusters(4, 3, 0.8)
    novelty = Familiarity().fit(support, labels, [str(i) for i in range(len(labels))])
    signatures = np.concatenate([fresh, strangers])
    unit = signatures / np.linalg.norm(signatures, axis=1, keepdims=True)
    familiarity = (unit @ novelty.examples.T).max(axis=1)
    order = np.argsort(familiarity)
    assert (np.diff(novelty.probability(signatures)[order]) <= 1e-12).all()


def test_windows_of_one_video_do_not_vouch_for_each_other():
    support, labels, _, _ = clusters(3, 2, 0.5)
    twins = np.concatenate([support, support])
    groups = [str(i) for i in range(len(labels))] * 2
    plain = Familiarity().fit(support, labels, groups[: len(labels)])
    doubled = Familiarity().fit(twins, labels * 2, groups)
    assert doubled.centre == pytest.approx(plain.centre, abs=1e-6)
    assert doubled.slope == pytest.approx(plain.slope, rel=1e-4)


def test_one_video_only_says_nothing_certain():
    support, labels, _, _ = clusters(2, 1, 0.5)
    novelty = Familiarity().fit(support, labels, ["same", "same"])
    assert 0 < novelty.probability(support).max() < 1


@pytest.mark.parametrize("shots", [3, 6, 40])
@pytest.mark.parametrize("name", ["familiarity", "knn", "prototype", "energy"])
def test_right_answers_of_the_folds_stay_known(name: str, shots: int):
    support, labels, _, strangers = clusters(5, shots, 2.2)
    groups = [str(i) for i in range(len(labels))]
    nearest = -np.linalg.norm(support[:, None] - support[None], axis=2)
    np.fill_diagonal(nearest, -np.inf)
    member = np.array([[own == label for label in sorted(set(labels))] for own in labels])
    logits = np.stack([np.where(m, nearest, -np.inf).max(axis=1) for m in member.T], axis=1)
    rejector = fit_rejector(name, support, labels, groups, logits)
    before = rejector.probability(strangers, np.full((len(strangers), 5), -30.0))
    held = rejector.hold_out(support, np.array(labels), np.array(groups), logits)
    keep_right(rejector, support, labels, groups, logits)
    right = (logits.argmax(axis=1) == member.argmax(axis=1))[held.rows]
    bound = upper_bound(held.known[right])
    assert (held.known[right] <= bound).mean() >= 0.95
    after = rejector.probability(strangers, np.full((len(strangers), 5), -30.0))
    assert (after <= before).all()
    if name != "energy":
        state = rejector.config()
        assert (
            state["centre"] <= -bound + 1e-9 if name == "familiarity" else state["centre"] >= bound
        )


def test_one_recording_a_label_keeps_what_other_labels_reach():
    support, labels, _, _ = clusters(5, 1, 0.5)
    rejector = Familiarity().fit(support, labels)
    before = rejector.centre
    keep_right(rejector, support, labels, labels, None)
    held = rejector.hold_out(support, np.array(labels), np.array(labels), None)
    assert rejector.centre == min(before, -np.median(held.unknown))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60))
def test_a_bound_is_above_all_but_one_in_twenty(values: list[float]):
    scores = np.array(values)
    assert (scores <= upper_bound(scores)).mean() >= 0.95

from __future__ import annotations

import numpy as np
import pytest

from vlar.heads.reject import Familiarity


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

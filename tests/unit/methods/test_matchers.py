"""Distances between sequences, and the heads that are made of them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from tests.refusals import refused
from vlar import registry
from vlar.errors import UnknownNameError, UsageError
from vlar.heads.fewshot.base import FewShotHead
from vlar.methods.matchers.heads import SequenceMatcher, distances

NAMES = ("mean", "diag", "bi-mhm", "otam", "tuple", "hybrid")
ORDER_BLIND = ("mean", "bi-mhm")


def frames(n: int, length: int = 8, width: int = 12, seed: int = 0):
    return np.random.default_rng(seed).normal(size=(n, length, width))


def rows(clips) -> np.ndarray:
    """Signatures of kind ``frames:T``: unit frames, flat."""
    unit = clips / np.linalg.norm(clips, axis=2, keepdims=True)
    return (unit / np.sqrt(clips.shape[1])).reshape(len(clips), -1).astype(np.float32)


def test_every_matcher_is_a_head():
    parts = registry.parts("fewshot")
    assert {n for n, part in parts.items() if issubclass(part, SequenceMatcher)} == set(NAMES)


@given(seed=st.integers(0, 10**6), m=st.integers(1, 4), n=st.integers(1, 4), t=st.integers(2, 9))
@settings(max_examples=30, deadline=None)
def test_shapes_signs_and_symmetry(seed, m, n, t):
    a, b = frames(m, t, 5, seed), frames(n, t, 5, seed + 1)
    for name in NAMES:
        found = distances(name, a, b)
        assert found.shape == (m, n)
        assert found.dtype == np.float64
        assert name == "otam" or (found >= -1e-12).all()
        np.testing.assert_allclose(distances(name, b, a), found.T, atol=1e-9)
        if name != "otam":
            np.testing.assert_allclose(np.diagonal(distances(name, a, a)), 0, atol=1e-6)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_only_the_order_blind_do_not_notice_a_shuffle(seed):
    a, b = frames(3, seed=seed), frames(2, seed=seed + 1)
    shuffled = a[:, np.random.default_rng(seed).permutation(8)]
    for name in ORDER_BLIND:
        np.testing.assert_allclose(distances(name, shuffled, b), distances(name, a, b), atol=1e-6)
        np.testing.assert_allclose(distances(name, b, shuffled), distances(name, b, a), atol=1e-6)
    for name in set(NAMES) - set(ORDER_BLIND):
        assert np.abs(distances(name, a[:, ::-1], b) - distances(name, a, b)).max() > 1e-3


def test_against_plain_loops():
    a, b = frames(2, 4), frames(3, 4, seed=1)
    unit = lambda x: x / np.linalg.norm(x)  # noqa: E731
    cost = lambda x, y: 1 - unit(x) @ unit(y)  # noqa: E731
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    join = lambda clip: [np.r_[unit(clip[i]), unit(clip[j])] for i, j in pairs]  # noqa: E731

    def nearest(x, y):
        d = np.array([[cost(p, q) for q in y] for p in x])
        return d.min(axis=0).sum() + d.min(axis=1).sum()

    for m, x in enumerate(a):
        for n, y in enumerate(b):
            expected = {
                "mean": cost(x.mean(axis=0), y.mean(axis=0)),
                "diag": np.mean([cost(p, q) for p, q in zip(x, y, strict=True)]),
                "bi-mhm": nearest(x, y),
                "tuple": nearest(join(x), join(y)),
            }
            expected["hybrid"] = 0.3 * expected["tuple"] / 12 + 0.7 * expected["bi-mhm"] / 8
            for name, value in expected.items():
                options = {"alpha": 0.3} if name == "hybrid" else {}
                assert distances(name, a, b, **options)[m, n] == pytest.approx(value, abs=1e-12)


def _otam_by_loops(d, lam):
    def smin(*values):
        return -lam * math.log(sum(math.exp(-value / lam) for value in values))

    t, s = d.shape
    d = np.pad(d, ((0, 0), (1, 1)))
    c = np.zeros((t, s + 2))
    for m in range(1, s + 2):
        c[0, m] = d[0, m] + c[0, m - 1]
    for row in range(1, t):
        for m in range(1, s + 2):
            steps = [c[row - 1, m - 1], c[row, m - 1]]
            steps += [c[row - 1, m]] if m in (1, s + 1) else []
            c[row, m] = d[row, m] + smin(*steps)
    return c[-1, -1]


def test_otam_against_loops_and_its_two_values():
    a, b = frames(2, 5), frames(2, 5, seed=3)
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    for m in range(2):
        for n in range(2):
            d = 1 - unit(a[m]) @ unit(b[n]).T
            expected = _otam_by_loops(d, 0.2) + _otam_by_loops(d.T, 0.2)
            assert distances("otam", a, b, lam=0.2)[m, n] == pytest.approx(expected, abs=1e-10)
    for length, value in ((2, -0.358352), (3, -0.635611)):
        same = np.ones((1, length, 4))
        assert distances("otam", same, same)[0, 0] == pytest.approx(value, abs=1e-6)


def test_otam_follows_a_clip_with_a_doubled_and_a_dropped_frame():
    walk = np.cumsum(frames(6, seed=5), axis=1)
    warped = walk[:, [0, 1, 2, 2, 3, 4, 5, 6]]
    found = distances("otam", warped, walk)
    assert (found.argmin(axis=1) == np.arange(6)).all()


@pytest.mark.parametrize("name", NAMES)
def test_forward_and_backward_clips(name):
    steps = np.cumsum(frames(12, 8, 16, seed=7) + 0.4, axis=1)
    clips = np.concatenate([steps, steps[:, ::-1]])
    y = ["forward"] * 12 + ["backward"] * 12
    learn = np.r_[0:6, 12:18]
    head = registry.get("fewshot", name)().fit(rows(clips[learn]), [y[i] for i in learn])
    test = np.setdiff1d(np.arange(24), learn)
    right = [
        head.labels[c] == y[i]
        for i, c in zip(test, head.probabilities(rows(clips[test])).argmax(axis=1), strict=True)
    ]
    if name in ORDER_BLIND:
        assert np.mean(right) == 0.5
    else:
        assert np.mean(right) > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_alone_in_company_and_saved(name):
    head = registry.get("fewshot", name)()
    head.kind = "frames:8"
    head.fit(rows(frames(6)), ["a", "b", "c"] * 2)
    queries = rows(frames(5, seed=2))
    together = head.probabilities(queries)
    alone = np.concatenate([head.probabilities(row[None]) for row in queries])
    np.testing.assert_allclose(together, alone, atol=1e-9)
    arrays = load(save({key: np.ascontiguousarray(a) for key, a in head.state().items()}))
    again = FewShotHead.from_state(json.loads(json.dumps(head.config())), arrays)
    assert np.array_equal(again.probabilities(queries), together)


def test_the_prototype_of_one_example_is_the_example():
    head = registry.get("fewshot", "otam")
    signatures, y = rows(frames(3)), ["a", "b", "c"]
    by_distance = head().fit(signatures, y, parameter=0.0)
    by_prototype = head().fit(signatures, y, parameter=1.0)
    queries = rows(frames(4, seed=9))
    np.testing.assert_allclose(
        by_distance.evidence(queries), by_prototype.evidence(queries), atol=1e-5
    )


def test_a_prototype_is_the_mean_sequence():
    walk = np.cumsum(frames(2, seed=4), axis=1)
    noisy = np.repeat(walk, 8, axis=0) + 0.8 * frames(16, seed=5)
    y = ["a"] * 8 + ["b"] * 8
    head = registry.get("fewshot", "diag")().fit(rows(noisy), y, parameter=1.0)
    assert head.probabilities(rows(walk)).argmax(axis=1).tolist() == [0, 1]
    assert head.config()["parameter"] == 1.0


def test_what_cannot_be_compared_is_named():
    a = frames(2, 8)
    with pytest.raises(UsageError, match=r"one width F; it got \(2, 8, 12\) and \(2, 8, 5\)"):
        distances("otam", a, frames(2, 8, 5))
    with pytest.raises(UsageError, match="'tuple' needs at least 2 frames a clip and got 1"):
        distances("tuple", a[:, :1], a[:, :1])
    refused(UsageError, "one length and got 8 and 4", distances, "diag", a, a[:, :4])
    refused(UsageError, "not finite", distances, "mean", a * np.nan, a)
    refused(UsageError, "lam of matcher 'otam' is 0", distances, "otam", a, a, lam=0.0)
    refused(UsageError, "no option 'beta'", distances, "mean", a, a, beta=1.0)
    refused(UsageError, "'ridge' does not compare sequences", distances, "ridge", a, a)
    refused(UnknownNameError, "", distances, "nothing", a, a)
    assert distances("otam", a[:0], a).shape == (0, 2)


def test_chunks_do_not_change_anything(monkeypatch):
    a, b = frames(7), frames(5, seed=1)
    whole = {name: distances(name, a, b) for name in NAMES}
    monkeypatch.setattr("vlar.methods.matchers.heads._CHUNK_BYTES", 1)
    for name in NAMES:
        np.testing.assert_allclose(distances(name, a, b), whole[name], atol=1e-12)

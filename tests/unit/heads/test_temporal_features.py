from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.encoders.base import FrameBlock
from vlar.errors import UnknownNameError, UsageError
from vlar.heads.signatures import available_terms, parse_kind, signature, terms

CLIP = (FrameBlock("frame", 6, "appearance"),)
LITE = (
    FrameBlock("objects", 5, "logits"),
    FrameBlock("motion", 4, "motion"),
    FrameBlock("direction", 4, "direction"),
    FrameBlock("appearance", 6, "appearance"),
)
ALL = available_terms(LITE)
ORDER_FREE = ("mean", "std", "objects", "motion", "direction")


def _features(n=3, t=8, width=19, seed=0):
    return 3 * np.random.default_rng(seed).normal(size=(n, t, width)).astype(np.float32)


def test_terms_depend_on_the_blocks():
    assert available_terms(CLIP) == ("mean", "absdiff", "std", "dct", "rhythm")
    assert set(ALL) > {"objects", "motion", "direction", "order"}


@pytest.mark.parametrize("term", ALL)
def test_terms_are_unit_rows(term):
    norms = np.linalg.norm(terms(_features(), LITE, (term,))[term], axis=1)
    if term == "motion":  # its parts together stay within the unit ball
        assert (norms <= 1 + 1e-6).all()
        assert (norms > 0.5).all()
    else:
        np.testing.assert_allclose(norms, 1, atol=1e-5)


@given(st.lists(st.sampled_from([t for t in ALL if t != "motion"]), min_size=1, unique=True))
def test_a_kind_is_unit_and_dot_products_are_weighted_means_of_the_terms(chosen):
    features = _features()
    vectors = signature(features, LITE, "+".join(f"{t}:{i + 1}" for i, t in enumerate(chosen)))
    weights = np.arange(1, len(chosen) + 1) ** 2
    parts = terms(features, LITE, chosen)
    expected = sum(w * parts[t] @ parts[t].T for w, t in zip(weights, chosen, strict=True))
    np.testing.assert_allclose(vectors @ vectors.T, expected / weights.sum(), atol=1e-5)


@pytest.mark.parametrize("term", ALL)
def test_what_the_order_of_frames_changes(term):
    features = _features()
    shuffled = features[:, [3, 0, 7, 2, 5, 1, 6, 4]]
    same = np.allclose(
        terms(features, LITE, (term,))[term], terms(shuffled, LITE, (term,))[term], atol=1e-5
    )
    assert same == (term in ORDER_FREE)


@pytest.mark.parametrize("term", ["absdiff", "rhythm"])
def test_played_backwards_is_the_same(term):
    features = _features()
    np.testing.assert_allclose(
        terms(features, LITE, (term,))[term],
        terms(features[:, ::-1], LITE, (term,))[term],
        atol=1e-5,
    )


def test_dct_tells_forward_from_backward():
    features = _features()
    forward, backward = (terms(f, LITE, ("dct",))["dct"] for f in (features, features[:, ::-1]))
    assert (np.sum(forward * backward, axis=1) < 0.9).all()


def test_dct_is_the_textbook_transform():
    scipy_fft = pytest.importorskip("scipy.fft")
    features = np.abs(_features(width=6))
    expected = scipy_fft.dct(np.sqrt(features.astype(float)), axis=1, norm="ortho")[:, 1:4]
    expected = expected.reshape(3, -1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(terms(features, CLIP, ("dct",))["dct"], expected, atol=1e-5)


@pytest.mark.parametrize("term", ALL)
@pytest.mark.parametrize("length", [1, 2, 3])
def test_short_clips_are_finite(term, length):
    assert np.isfinite(terms(_features(t=length), LITE, (term,))[term]).all()


def test_a_still_clip_has_no_motion_and_noise_is_not_blown_up():
    features = np.zeros((1, 8, 19), np.float32)
    assert not terms(features, LITE, ("motion",))["motion"].any()
    faint = features + 1e-3 * _features(n=1)
    assert np.linalg.norm(terms(faint, LITE, ("motion",))["motion"]) < 0.05


def test_blocks_must_cover_the_features():
    refused(UsageError, "need \\(N, T, 19\\)", signature, _features(width=18), LITE, "mean")


def test_a_missing_block_is_named():
    with pytest.raises(UsageError, match="'motion' reads a 'motion' block"):
        signature(_features(width=6), CLIP, "mean+motion")


def test_kinds_are_checked():
    assert parse_kind(" mean + std:0.5 ") == {"mean": 1.0, "std": 0.5}
    refused(UnknownNameError, "did you mean 'absdiff'", parse_kind, "abs-diff")
    for bad in ("mean:0", "mean:-1", "mean:x", "mean+mean", "mean:nan", "mean:inf"):
        refused(UsageError, "positive weight", parse_kind, bad)

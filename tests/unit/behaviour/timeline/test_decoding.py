"""Smoothing, and the best path of labels with least durations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.behaviour.timeline.decoding import Decoder
from vlar.errors import UsageError


def viterbi(scores, *, shortest=1, switch=0.0):
    """The best path of a whole recording."""
    decoder = Decoder(np.shape(scores)[1], shortest=shortest, switch=switch)
    for row in scores:
        decoder.advance(row)
    return np.array(decoder.finish(), np.int64)


def stays(path):
    return [(label, len(list(rows))) for label, rows in itertools.groupby(path)]


def value(path, scores, switch):
    changes = sum(a != b for a, b in itertools.pairwise(path))
    return scores[np.arange(len(path)), path].sum() - switch * changes


def allowed(path, shortest):
    return all(length >= shortest[label] for label, length in stays(path))


DRAWN = (
    st.integers(1, 7),
    st.integers(1, 3),
    st.lists(st.integers(1, 3), min_size=3, max_size=3),
    st.floats(0, 3),
    st.integers(0, 10_000),
)


@settings(max_examples=60, deadline=None)
@given(*DRAWN)
def test_no_path_is_better(steps, n_labels, shortest, switch, seed):
    scores = np.random.default_rng(seed).normal(size=(steps, n_labels))
    least = shortest[:n_labels]
    path = viterbi(scores, shortest=least, switch=switch).tolist()
    every = [p for p in itertools.product(range(n_labels), repeat=steps) if allowed(list(p), least)]
    assert len(path) == steps
    if not every:  # shorter than every stay: one label
        assert len(set(path)) == 1
        return
    assert allowed(path, least)
    best = max(value(np.array(p), scores, switch) for p in every)
    assert value(np.array(path), scores, switch) == pytest.approx(best, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 4),
    st.lists(st.integers(1, 4), min_size=4, max_size=4),
    st.floats(0, 3),
    st.integers(0, 10_000),
)
def test_what_is_sure_early_is_the_answer_of_the_whole(steps, n_labels, shortest, switch, seed):
    scores = np.random.default_rng(seed).normal(size=(steps, n_labels))
    least = shortest[:n_labels]
    decoder = Decoder(n_labels, shortest=least, switch=switch)
    found = [label for row in scores for label in decoder.push(row)] + decoder.finish()
    assert found == viterbi(scores, shortest=least, switch=switch).tolist()


@settings(max_examples=40, deadline=None)
@given(st.integers(5, 60), st.integers(0, 8), st.integers(1, 4), st.integers(0, 10_000))
def test_a_delay_is_kept_and_so_are_least_durations(steps, delay, least, seed):
    scores = np.random.default_rng(seed).normal(size=(steps, 3))
    decoder = Decoder(3, shortest=least, switch=0.5, delay=delay)
    found: list[int] = []
    for at, row in enumerate(scores):
        found += decoder.push(row)
        assert len(found) >= at - delay
    found += decoder.finish()
    assert len(found) == steps
    inner = stays(found)[:-1]  # the end may cut the last one
    assert all(length >= least for _, length in inner)


def test_decisions_come_before_the_end():
    scores = np.log(np.array([[0.9, 0.1]] * 20 + [[0.1, 0.9]] * 20))
    decoder = Decoder(2, shortest=3, switch=1.0)
    early = [label for row in scores for label in decoder.push(row)]
    assert early[:20] == [0] * 20
    assert len(early) > 30


def test_a_short_blip_is_no_segment_and_a_long_one_is():
    scores = np.zeros((30, 2))
    scores[:, 0] = 1.0
    scores[10:12] = [0.0, 1.0]
    scores[20:26] = [0.0, 1.0]
    assert stays(viterbi(scores, shortest=4, switch=1.0)) == [(0, 20), (1, 6), (0, 4)]
    assert len(stays(viterbi(scores))) == 5


def test_what_is_out_of_range_is_refused():
    for make in [
        lambda: viterbi(np.zeros((3, 0))),
        lambda: viterbi([[np.nan, 0.0]]),
        lambda: viterbi(np.zeros((3, 2)), shortest=0),
        lambda: viterbi(np.zeros((3, 2)), switch=-1.0),
        lambda: viterbi(np.zeros((3, 2)), switch=float("nan")),
        lambda: Decoder(2, delay=-1),
        lambda: Decoder(2).push([0.0]),
    ]:
        refused(UsageError, "give", make)


def test_stays_too_long_to_follow_are_refused():
    refused(UsageError, "longer steps", Decoder, 100, shortest=1 << 16)

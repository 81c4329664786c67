from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlar.evaluation.corruptions.base import SEVERITIES, corrupt


def numbered(n_frames: int) -> np.ndarray:
    frames = np.zeros((n_frames, 4, 4, 3), np.uint8)
    return frames + np.arange(n_frames, dtype=np.uint8)[:, None, None, None]


def order(frames: np.ndarray) -> list[int]:
    assert (frames == frames[:, :1, :1, :1]).all(), "a frame that is not a frame of the clip"
    return frames[:, 0, 0, 0].tolist()


CLIPS = {"n_frames": st.integers(1, 40), "severity": st.integers(1, 5), "seed": st.integers(0, 999)}


@given(**CLIPS)
@settings(max_examples=60)
def test_reverse_twice_is_the_clip(n_frames: int, severity: int, seed: int):
    frames = numbered(n_frames)
    once = corrupt(frames, "reverse", severity, seed=seed)
    assert order(once) == list(range(n_frames))[::-1]
    assert np.array_equal(corrupt(once, "reverse", severity, seed=seed), frames)


@given(**CLIPS)
@settings(max_examples=60)
def test_shuffle_keeps_every_frame_once(n_frames: int, severity: int, seed: int):
    found = order(corrupt(numbered(n_frames), "shuffle", severity, seed=seed))
    assert sorted(found) == list(range(n_frames))
    moved = sum(a != b for a, b in enumerate(found))
    assert moved == max(min(2, n_frames), round(severity / 5 * n_frames)) or n_frames == 1


@given(**CLIPS)
@settings(max_examples=60)
def test_a_freeze_shows_frames_of_the_clip_and_one_of_them_longer(
    n_frames: int, severity: int, seed: int
):
    found = order(corrupt(numbered(n_frames), "freeze", severity, seed=seed))
    still = {a for a, b in itertools.pairwise(found) if a == b}
    assert len(still) == min(1, n_frames - 1)
    assert all(number == at for at, number in enumerate(found) if number not in still)


@given(**CLIPS)
@settings(max_examples=60)
def test_a_dropped_frame_is_the_one_before(n_frames: int, severity: int, seed: int):
    found = order(corrupt(numbered(n_frames), "drop", severity, seed=seed))
    assert found[0] == 0
    for at, number in enumerate(found):
        assert number in (at, found[max(at - 1, 0)])
    lost = sum(at != number for at, number in enumerate(found))
    wanted = [0.1, 0.25, 0.4, 0.6, 0.8][severity - 1] * (n_frames - 1)
    assert abs(lost - wanted) <= 1


@pytest.mark.parametrize("name", ["drop", "freeze", "shuffle"])
def test_a_larger_severity_touches_more_frames(name: str):
    frames = numbered(32)
    touched = [
        sum(a != b for a, b in enumerate(order(corrupt(frames, name, s, seed=2))))
        for s in SEVERITIES
    ]
    assert touched == sorted(set(touched))


def test_another_seed_shuffles_otherwise():
    frames = numbered(32)
    assert order(corrupt(frames, "shuffle", 5, seed=1)) != order(
        corrupt(frames, "shuffle", 5, seed=2)
    )

"""The composites of ``evals/``: what stands where and when is what a proof relies on."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

EVALS = Path(__file__).resolve().parents[2] / "evals"


@pytest.fixture(scope="module")
def composites() -> ModuleType:
    sys.path.insert(0, str(EVALS))
    try:
        import composites
    finally:
        sys.path.remove(str(EVALS))
    return composites


def plain(value: int, frames: int = 6, height: int = 20, width: int = 30) -> np.ndarray:
    return np.full((frames, height, width, 3), value, np.uint8)


def slope(frames: int = 8) -> np.ndarray:
    """A picture that becomes brighter to the right, the same in every frame."""
    row = np.linspace(0, 255, 60).astype(np.uint8)
    return np.broadcast_to(row[None, None, :, None], (frames, 40, 60, 3)).copy()


def test_movements_keep_count_and_size(composites: ModuleType):
    sizes = {composites.moved(slope(), verb, "key").shape for verb in composites.VERBS}
    assert sizes == {(8, 28, 42, 3)}


def test_a_pan_to_the_right_is_the_one_to_the_left_played_backwards(composites: ModuleType):
    right = composites.moved(slope(), "panning right")
    left = composites.moved(slope(), "panning left")
    np.testing.assert_array_equal(right, left[::-1])
    bright = right.mean(axis=(1, 2, 3))
    assert np.all(np.diff(bright) > 0)


def test_a_frozen_clip_does_not_move_and_a_zoom_narrows(composites: ModuleType):
    frozen = composites.moved(slope(), "freezing")
    assert np.ptp(frozen, axis=0).max() == 0
    near = composites.moved(slope(), "zooming in")
    contrast = near.reshape(8, -1).std(axis=1)
    assert contrast[-1] < contrast[0]


def test_two_clips_stand_next_to_each_other(composites: ModuleType):
    both = composites.side_by_side(plain(10), plain(200, frames=3, height=40, width=40))
    assert both.shape == (6, 20, 30 + 20, 3)
    assert (both[:, :, :30] == 10).all()
    assert (both[:, :, 30:] == 200).all()


def test_two_clips_follow_each_other(composites: ModuleType):
    joined = composites.one_after_other(plain(10), plain(200, height=40))
    assert joined.shape == (6, 20, 30, 3)
    assert (joined[:3] == 10).all()
    assert (joined[3:] == 200).all()


@given(share=st.floats(0.1, 1.0), seed=st.integers(0, 99))
def test_a_pasted_clip_is_whole_and_stays_in_place(share: float, seed: int):
    sys.path.insert(0, str(EVALS))
    from composites import pasted

    sys.path.remove(str(EVALS))
    made = pasted(plain(200), plain(10, height=64, width=96), share, np.random.default_rng(seed))
    there = made == 200
    assert made.shape == (6, 64, 96, 3)
    assert (there == there[0]).all()
    rows, columns = np.flatnonzero(there[0].any((1, 2))), np.flatnonzero(there[0].any((0, 2)))
    assert len(rows) == max(8, round(share * 64))
    assert there[0].sum() == len(rows) * len(columns) * 3

"""Windows that follow a track: one size, always inside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.unit.people.made import T, track
from vlar.errors import UsageError
from vlar.people.crop import cut, key_frames, window


@given(
    arrays(np.float32, (6, 4), elements=st.floats(-50, 250, width=32)),
    st.integers(16, 200),
    st.integers(16, 200),
)
def test_one_side_for_all_frames_and_always_inside(corners, height, width):
    boxes = np.concatenate([np.arange(6)[:, None] / 4, corners], axis=1).astype(np.float32)
    x, y, side = window(boxes, (height, width))
    assert isinstance(side, float)
    assert side <= min(height, width)
    assert (x - side / 2 >= -1e-6).all()
    assert (x + side / 2 <= width + 1e-6).all()
    assert (y - side / 2 >= -1e-6).all()
    assert (y + side / 2 <= height + 1e-6).all()


def test_the_side_is_one_and_a_half_of_the_75th_percentile():
    assert window(track(80).boxes, (100, 200))[2] == pytest.approx(60)


def test_a_cut_holds_the_pixels_around_the_track():
    frames = np.zeros((T, 100, 200, 3), np.uint8)
    moving = track(60, step=4)
    for now, (_, x1, y1, x2, y2) in enumerate(moving.boxes.astype(int)):
        frames[now, y1:y2, x1:x2] = 255
    found = cut(frames, moving.boxes)
    assert found.shape == (T, 60, 60, 3)
    bright = (found > 0).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(bright, 20 * 40 / 3600, rtol=0.05)


def test_one_jump_does_not_move_the_window():
    boxes = track(60).boxes.copy()
    boxes[7, 1::2] += 90
    boxes[7, 3] = boxes[7, 1] + 20
    x, _, _ = window(boxes, (100, 200))
    assert abs(x[7] - 60) < 1


@pytest.mark.parametrize("boxes", [np.zeros((0, 5)), np.zeros((3, 4)), np.full((2, 5), np.nan)])
def test_what_is_not_a_track_is_refused(boxes):
    with pytest.raises(UsageError, match="boxes of shape"):
        window(boxes, (10, 10))


def test_a_cut_needs_one_box_a_frame():
    with pytest.raises(UsageError, match="3 boxes for 16 frames"):
        cut(np.zeros((T, 20, 20, 3), np.uint8), track(10).boxes[:3])


def test_key_frames_are_where_the_motion_is():
    boxes = track(60).boxes.copy()
    boxes[10:, 1] += 10 * np.arange(6)
    boxes[10:, 3] += 10 * np.arange(6)
    chosen = key_frames(boxes, None, 8)
    assert len(set(chosen.tolist())) == 8
    assert (np.diff(chosen) > 0).all()
    assert (chosen >= 10).sum() >= 5
    assert {0, T - 1} <= set(chosen.tolist())
    even = key_frames(track(60).boxes, None, 8)
    assert np.diff(even).max() <= 3


@given(st.integers(1, 40), st.integers(1, 40))
def test_key_frames_are_distinct_and_in_order(n_frames, wanted):
    random = np.random.default_rng(n_frames)
    boxes = random.random((n_frames, 5)).astype(np.float32)
    chosen = key_frames(boxes, None, min(wanted, n_frames))
    assert len(chosen) == min(wanted, n_frames)
    assert (np.diff(chosen) > 0).all()
    assert chosen.min() >= 0
    assert chosen.max() < n_frames

"""Boxes to tracks to numbered people to crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.refusals import refused
from tests.unit.people.made import TIMES_S, T, clip, scene, track
from vlar.errors import UsageError
from vlar.people.base import Boxes
from vlar.people.crop import cut, key_frames
from vlar.people.crop import window as crop_window
from vlar.people.detectors.motion import MotionDetector
from vlar.people.numbering import PersonNumbers
from vlar.people.people import People, find_people
from vlar.people.tracks import Track, link, overlap
from vlar.types import Clip, Window


def joined(*tracks, drop=()):
    rows = np.concatenate([t.boxes for t in tracks])
    keep = [at for at in range(len(rows)) if at not in drop]
    return Boxes(rows[keep], np.ones(len(keep), np.float32))


def test_boxes_that_cross_in_time_are_two_tracks():
    found = link(joined(track(20, step=3), track(150, step=-3)))
    assert [len(t.boxes) for t in found] == [T, T]
    starts = sorted(float(t.centres[0, 0]) for t in found)
    assert starts == [20, 150]
    assert all(np.ptp(t.centres[:, 0]) > 40 for t in found)


def test_a_gap_is_interpolated():
    (found,) = link(joined(track(20, step=3), drop=(5, 6, 7)))
    assert len(found.boxes) == T - 3
    np.testing.assert_allclose(found.at(TIMES_S)[6, 1], track(20, step=3).boxes[6, 1], atol=0.5)


def test_a_few_boxes_are_no_track():
    rows = track(20).boxes[:2]
    assert link(Boxes(rows, np.ones(2, np.float32))) == []
    assert link(Boxes.none()) == []


def test_overlap_of_equal_and_of_separate_boxes():
    a = np.array([[0, 0, 2, 2], [5, 5, 6, 6]], np.float32)
    np.testing.assert_allclose(overlap(a, a), [[1, 0], [0, 1]])


def test_a_static_scene_has_no_track():
    frames = scene([])
    noisy = frames + np.random.default_rng(1).integers(0, 4, frames.shape, np.uint8)
    for still in (frames, noisy):
        assert link(MotionDetector().detect(still, TIMES_S)) == []


def test_what_moves_is_followed():
    found = find_people(clip(scene([(20, 3), (120, -2)])), MotionDetector()).tracks
    assert len(found) == 2
    starts = sorted(float(t.at(TIMES_S)[8, 1:4:2].mean()) for t in found)
    np.testing.assert_allclose(starts, [20 + 24 + 7, 120 - 16 + 7], atol=8)


def test_the_camera_is_not_what_moves():
    random = np.random.default_rng(0)
    from scipy.ndimage import gaussian_filter

    wide = gaussian_filter(random.integers(0, 255, (120, 260, 3)).astype(float), (3, 3, 0))
    wide = ((wide - wide.min()) / np.ptp(wide) * 255).astype(np.uint8)
    frames = np.stack([wide[10:106, 2 * now : 2 * now + 160] for now in range(T)])
    assert link(MotionDetector().detect(frames, TIMES_S)) == []
    frames = frames.copy()
    for now in range(T):
        frames[now, 40:64, 20 + 4 * now : 34 + 4 * now] = (240, 240, 20)
    (found, *_) = link(MotionDetector().detect(frames, TIMES_S))
    assert abs(float(found.at(TIMES_S)[8, 1:4:2].mean()) - (20 + 32 + 7)) < 10


SIZE = (100, 200)


def window(
    start_s: float, end_s: float, ways: dict[str, tuple[float, float]], scale: int = 1
) -> People:
    """People who stand at x = a + b t pixels; ``scale`` is how large the window was read."""
    times_s = np.linspace(start_s, end_s, 9)
    frames = np.zeros((9, SIZE[0] * scale, SIZE[1] * scale, 3), np.uint8)
    clip = Clip(Path("v.mp4"), Window(start_s, end_s), "video", frames, times_s)
    tracks = []
    for begin, speed in ways.values():
        x = (begin + speed * times_s) * scale
        y = np.full(9, 20.0 * scale)
        boxes = np.stack([times_s, x, y, x + 30 * scale, y + 70 * scale], axis=1)
        tracks.append(Track(boxes.astype(np.float32), np.ones(9, np.float32)))
    return People(clip, tracks)


ANN, BEN = (10.0, 2.0), (120.0, 0.0)


def test_overlapping_windows_share_numbers_in_any_order_of_people():
    numbers = PersonNumbers()
    assert numbers.of(window(0, 4, {"ann": ANN, "ben": BEN})) == [1, 2]
    assert numbers.of(window(2, 6, {"ben": BEN, "ann": ANN})) == [2, 1]
    assert numbers.of(window(4, 8, {"ann": ANN})) == [1]
    assert numbers.of(window(6, 10, {"ann": ANN, "ben": BEN})) == [1, 2]  # as they touch
    assert numbers.of(window(0, 16, {"ben": BEN, "ann": ANN})) == [2, 1]  # windows of another scale


def test_windows_read_at_another_size_share_numbers():
    numbers = PersonNumbers()
    numbers.of(window(0, 4, {"ann": ANN, "ben": BEN}))
    assert numbers.of(window(2, 6, {"ann": ANN, "ben": BEN}, scale=3)) == [1, 2]


def test_windows_side_by_side_are_linked_over_a_short_gap():
    numbers = PersonNumbers()
    numbers.of(window(0, 4, {"ann": ANN}))
    assert numbers.of(window(4.5, 8, {"ann": ANN})) == [1]
    assert numbers.of(window(20, 24, {"ann": ANN})) == [2]


def test_somebody_else_at_another_place_gets_a_new_number():
    numbers = PersonNumbers()
    numbers.of(window(0, 4, {"ann": ANN}))
    assert numbers.of(window(2, 6, {"ben": BEN})) == [2]


def test_nobody():
    assert PersonNumbers().of(window(0, 4, {})) == []


@given(
    arrays(np.float32, (6, 4), elements=st.floats(-50, 250, width=32)),
    st.integers(16, 200),
    st.integers(16, 200),
)
def test_one_side_for_all_frames_and_always_inside(corners, height, width):
    boxes = np.concatenate([np.arange(6)[:, None] / 4, corners], axis=1).astype(np.float32)
    x, y, side = crop_window(boxes, (height, width))
    assert isinstance(side, float)
    assert side <= min(height, width)
    assert (x - side / 2 >= -1e-6).all()
    assert (x + side / 2 <= width + 1e-6).all()
    assert (y - side / 2 >= -1e-6).all()
    assert (y + side / 2 <= height + 1e-6).all()


def test_the_side_is_one_and_a_half_of_the_75th_percentile():
    assert crop_window(track(80).boxes, (100, 200))[2] == pytest.approx(60)


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
    x, _, _ = crop_window(boxes, (100, 200))
    assert abs(x[7] - 60) < 1


def test_what_is_not_a_track_is_refused():
    for boxes in [np.zeros((0, 5)), np.zeros((3, 4)), np.full((2, 5), np.nan)]:
        refused(UsageError, "boxes of shape", crop_window, boxes, (10, 10))


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

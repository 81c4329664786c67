"""Boxes to tracks, and what moves in a scene."""

from __future__ import annotations

import numpy as np

from tests.unit.people.made import TIMES_S, T, clip, scene, track
from vlar.people.base import Boxes
from vlar.people.detectors.motion import MotionDetector
from vlar.people.people import find_people
from vlar.people.tracks import link, overlap


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

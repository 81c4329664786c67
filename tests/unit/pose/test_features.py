"""Frame features hold a clip's bodies, and measuring them needs nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.pose.figure import ASPECT, Figure, walker
from vlar.pose import features as pose
from vlar.pose.camera import stabilise, steps_of
from vlar.pose.draw import draw_tracks
from vlar.pose.track import Tracks


def rows(*figures: Figure) -> np.ndarray:
    first = figures[0]
    found = np.zeros((first.n_frames, pose.POSE_WIDTH), np.float32)
    for number, figure in enumerate(figures):
        begin = number * 100
        found[:, begin : begin + 99] = figure.points().reshape(len(found), -1)
        found[:, begin + 99] = 1
    found[:, -2] = first.time
    found[:, -1] = ASPECT
    return found


def test_features_give_back_what_they_hold():
    figures = (walker(), Figure(n_frames=48, x=1.0))
    tracks = pose.tracks_of(rows(*figures))
    np.testing.assert_array_equal(tracks.points, figures[0].tracks(figures[1]).points)
    assert len(pose.people_of(rows(*figures))) == 2


def test_a_walk_is_beyond_the_ordinary_in_travel():
    from vlar.pose.attribute import attribute_names

    vector = pose.motion_vector(rows(walker()))
    assert vector[attribute_names().index("travel")] > 0
    assert 0.8 < np.linalg.norm(vector) <= 1 + 1e-6


@pytest.mark.parametrize("kept", [0, 1, 2, 4])
def test_few_frames_are_silent(kept: int):
    short = rows(walker())[:kept]
    assert not pose.motion_vector(short).any()
    assert not pose.spectrum(short).any()


def test_nobody_and_no_time_are_silent():
    empty = rows(walker())
    empty[:, 99] = 0
    assert not pose.motion_vector(empty).any()
    frozen = rows(walker())
    frozen[:, -2] = 0
    assert not pose.motion_vector(frozen).any()


@pytest.mark.parametrize("pitch", [180.0, 90.0])
def test_any_posture_gives_a_vector(pitch: float):
    vector = pose.motion_vector(rows(Figure(pitch=pitch)))
    assert np.isfinite(vector).all()
    assert np.linalg.norm(vector) <= 1 + 1e-6


def test_the_spectrum_forgets_when_a_movement_starts():
    early = pose.spectrum(rows(walker()))
    assert early.shape == (pose.SPECTRUM_WIDTH,)
    late = walker()
    later = rows(late)[8:]
    other = pose.spectrum(later)
    still = pose.spectrum(rows(Figure(n_frames=48)))
    assert np.linalg.norm(early - other) < 0.3 * np.linalg.norm(early - still)


def moving_texture(shift: tuple[float, float], n_frames: int = 6) -> np.ndarray:
    """(T, 60, 80) grey frames of a fixed pattern seen by a panning camera."""
    y, x = np.mgrid[:60, :80].astype(np.float64)
    found = []
    for now in range(n_frames):
        u, v = x - now * shift[0], y - now * shift[1]
        found.append(128 + 40 * np.sin(u / 4) + 40 * np.cos(v / 5) + 30 * np.sin((u + v) / 7))
    return np.stack(found).astype(np.float32)


@pytest.mark.parametrize("shift", [(1.5, 0.0), (-2.0, 1.0), (0.0, 0.0)])
def test_a_pan_is_found(shift: tuple[float, float]):
    nobody = Tracks(np.zeros((0, 6, 33, 3), np.float32), np.zeros((0, 6), np.float32))
    steps = steps_of(moving_texture(shift), nobody)
    np.testing.assert_allclose(steps[:-1, 0] * 60, shift[0], atol=0.15)
    np.testing.assert_allclose(steps[:-1, 1] * 60, shift[1], atol=0.15)
    assert not steps[-1].any()


def test_stabilised_points_stand_still_under_any_camera():
    random = np.random.default_rng(0)
    steps = random.normal(0, 0.05, (12, 4)).astype(np.float32)
    place = np.array([[0.3, 0.4], [1.2, 0.9]])
    middle = np.array([ASPECT / 2, 0.5])
    seen = [place]
    for right, down, log_scale, turn in steps[:-1].astype(np.float64):
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        moved = (seen[-1] - middle) @ (np.exp(log_scale) * rotation).T
        seen.append(moved + np.array([right, down]) + middle)
    still = stabilise(np.stack(seen), steps, ASPECT)
    np.testing.assert_allclose(still, np.broadcast_to(place, still.shape), atol=1e-9)


def test_drawing_marks_the_limbs_and_leaves_the_frames():
    frames = np.zeros((48, 90, 160, 3), np.uint8)
    drawn = draw_tracks(frames, walker().tracks())
    assert not frames.any()
    assert drawn.any(axis=(1, 2, 3)).all()
    hidden = walker(visible=np.zeros(33)).tracks()
    assert not draw_tracks(frames, hidden).any()


def reader() -> pose.BodyReader:
    from vlar.pose import files

    if not files.is_there():
        pytest.skip("lite-motion was not fetched")
    return pose.BodyReader()


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (20, 300)])
def test_real_networks_find_nobody_in_noise(size: tuple[int, int]):
    frames = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    found = reader().features(frames)
    assert found.shape == (3, pose.POSE_WIDTH)
    assert not pose.motion_vector(found).any()


def test_real_networks_see_a_person(real_videos: Path):
    from vlar.video import read_clip

    clip = read_clip(next((real_videos / "weizmann" / "walk").iterdir()), None, 16)
    bodies = reader()
    found = bodies.features(clip.frames, clip.times_s)
    assert (found[:, 99] > 0.5).mean() > 0.9
    np.testing.assert_array_equal(found, bodies.features(clip.frames.copy(), clip.times_s))
    upside = bodies.features(np.ascontiguousarray(clip.frames[:, ::-1]), clip.times_s)
    assert np.isfinite(pose.motion_vector(upside)).all()

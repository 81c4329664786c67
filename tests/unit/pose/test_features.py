"""Frame features hold a clip's bodies, and measuring them needs nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.pose.figure import ASPECT, Figure, walker
from vlar.pose import features
from vlar.pose.draw import draw_tracks
from vlar.pose.optical_flow import optical_flow, stabilise, steps_of_flow


def rows(*figures: Figure) -> np.ndarray:
    first = figures[0]
    found = np.zeros((first.n_frames, features.POSE_WIDTH), np.float32)
    for number, figure in enumerate(figures):
        begin = number * 100
        found[:, begin : begin + 99] = figure.points().reshape(len(found), -1)
        found[:, begin + 99] = 1
    found[:, -2] = first.time
    found[:, -1] = ASPECT
    return found


def test_features_give_back_what_they_hold():
    figures = (walker(), Figure(n_frames=48, x=1.0))
    tracks = features.tracks_from_features(rows(*figures))
    np.testing.assert_array_equal(tracks.points, figures[0].tracks(figures[1]).points)
    assert len(features.people_from_features(rows(*figures))) == 2


def test_a_walk_is_beyond_the_ordinary_in_travel():
    from vlar.pose.attributes.base import attribute_names

    vector = features.motion_vector(rows(walker()))
    assert vector[attribute_names().index("travel")] > 0
    assert 0.8 < np.linalg.norm(vector) <= 1 + 1e-6


@pytest.mark.parametrize("kept", [0, 1, 2, 4])
def test_few_frames_are_silent(kept: int):
    short = rows(walker())[:kept]
    assert not features.motion_vector(short).any()
    assert not features.spectrum(short).any()


def test_nobody_and_no_time_are_silent():
    empty = rows(walker())
    empty[:, 99] = 0
    assert not features.motion_vector(empty).any()
    frozen = rows(walker())
    frozen[:, -2] = 0
    assert not features.motion_vector(frozen).any()


def length(found: np.ndarray) -> float:
    vector = features.motion_vector(found)
    assert np.isfinite(vector).all()
    return float(np.linalg.norm(vector))


def test_someone_who_lies_is_measured_and_someone_on_their_head_is_not():
    assert 0.3 < length(rows(Figure(pitch=90.0))) <= 1 + 1e-6
    assert length(rows(Figure(pitch=180.0))) < 0.05
    turning = np.linspace(0, 360, 64)  # a cartwheel: on the head for a third of the time
    assert length(rows(Figure(pitch=turning))) > 0.3


def test_half_a_body_at_the_side_of_the_picture_is_not_measured():
    whole = length(rows(walker()))
    assert length(rows(Figure(n_frames=48, at=0.0))) < 0.05
    assert length(rows(Figure(n_frames=48, at=ASPECT))) < 0.05
    squeezed = Figure(n_frames=48, at=0.09)  # what the networks make of a half: it just fits in
    assert length(rows(squeezed)) < 0.05
    assert length(rows(Figure(n_frames=48, at=0.5))) > 0.7 * whole


@pytest.mark.parametrize("down", [0.45, -0.6])  # the picture ends at the hips, or begins there
def test_half_a_body_above_or_below_the_picture_counts_a_third(down: float):
    cut = rows(walker())
    cut[:, 1:99:3] += down
    assert length(cut) < 0.35


def test_someone_without_feet_in_the_picture_is_measured():
    low = rows(walker())
    low[:, 1:99:3] += 0.12
    assert length(low) > 0.3


def test_who_walks_out_of_the_picture_is_measured_while_inside():
    leaving = walker(speed=1.0, at=1.2)
    assert length(rows(leaving)) > 0.5


def rank(found: np.ndarray, phrases: list[str]) -> list[str]:
    """Phrases by how well they fit, best first."""
    from vlar.language.motion.verb_table import VerbTable

    table, vector = VerbTable.packaged(), features.motion_vector(found)
    weights = [table.lookup(phrase).weights for phrase in phrases]
    fit = [float(vector @ (w / np.linalg.norm(w))) for w in weights]
    return [phrases[i] for i in np.argsort(-np.array(fit))]


def test_two_people_are_told_from_one_by_distance_and_touch():
    phrases = ["hugging someone", "talking to each other", "standing still", "walking"]
    time = np.linspace(0, 1, 48)
    come = 0.9 - 0.8 * np.minimum(1, 2 * time)
    reach = ((60.0, 90.0), (60.0, 90.0))
    pair = [Figure(n_frames=48, x=sign * come, arms=reach) for sign in (-1, 1)]
    assert rank(rows(*pair), phrases)[0] == "hugging someone"
    apart = [Figure(n_frames=48, x=x) for x in (-0.6, 0.6)]
    order = rank(rows(*apart), phrases)
    assert order.index("talking to each other") < order.index("hugging someone")
    alone = rank(rows(Figure(n_frames=48)), phrases)
    assert alone.index("standing still") < alone.index("hugging someone")


def test_the_spectrum_forgets_when_a_movement_starts():
    early = features.spectrum(rows(walker()))
    assert early.shape == (features.SPECTRUM_WIDTH,)
    late = walker()
    later = rows(late)[8:]
    other = features.spectrum(later)
    still = features.spectrum(rows(Figure(n_frames=48)))
    assert np.linalg.norm(early - other) < 0.3 * np.linalg.norm(early - still)


def moving_texture(shift: tuple[float, float], n_frames: int = 6) -> np.ndarray:
    """(T, 60, 80) grey frames of a fixed pattern seen by a panning camera."""
    y, x = np.mgrid[:60, :80].astype(np.float64)
    found = []
    for now in range(n_frames):
        u, v = x - now * shift[0], y - now * shift[1]
        found.append(128 + 40 * np.sin(u / 4) + 40 * np.cos(v / 5) + 30 * np.sin((u + v) / 7))
    return np.stack(found).astype(np.float32)


def camera_steps(grey: np.ndarray) -> np.ndarray:
    """(T, 4) the steps of the camera over frames (T, h, w) without people; the last row is zero."""
    flow = optical_flow(grey[:-1], grey[1:])
    steps = steps_of_flow(grey[:-1], *flow, np.ones_like(grey[:-1]))
    return np.pad(steps, ((0, 1), (0, 0)))


@pytest.mark.parametrize("shift", [(1.5, 0.0), (-2.0, 1.0), (0.0, 0.0)])
def test_a_pan_is_found(shift: tuple[float, float]):
    steps = camera_steps(moving_texture(shift))
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


def reader() -> features.PoseExtractor:
    from vlar.pose import networks

    if not networks.is_installed():
        pytest.skip("lite-motion was not fetched")
    return features.PoseExtractor()


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (20, 300)])
def test_real_networks_find_nobody_in_noise(size: tuple[int, int]):
    frames = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    found = reader().features(frames)
    assert found.shape == (3, features.POSE_WIDTH)
    assert not features.motion_vector(found).any()


def test_real_networks_see_a_person(real_videos: Path):
    from vlar.media.video.decode import read_clip

    clip = read_clip(next((real_videos / "weizmann" / "walk").iterdir()), None, 16)
    bodies = reader()
    found = bodies.features(clip.data, clip.times_s)
    assert (found[:, 99] > 0.5).mean() > 0.9
    np.testing.assert_array_equal(found, bodies.features(clip.data.copy(), clip.times_s))
    assert length(found) > 0.7
    upside = bodies.features(np.ascontiguousarray(clip.data[:, ::-1]), clip.times_s)
    assert length(upside) < 0.1


@pytest.mark.parametrize("side", ["left", "right"])
def test_real_networks_are_not_believed_about_half_a_person(real_videos: Path, side: str):
    from vlar.media.video.decode import read_clip

    clip = read_clip(next((real_videos / "utd-mhad" / "wave").iterdir()), None, 16)
    bodies = reader()
    points = features.tracks_from_features(bodies.features(clip.data, clip.times_s)).points[0]
    middle = int(np.median(points[:, [23, 24], 0]) * clip.data.shape[1])
    half = clip.data[:, :, :middle] if side == "left" else clip.data[:, :, middle:]
    assert length(bodies.features(np.ascontiguousarray(half), clip.times_s)) < 0.1


def test_two_pictures_shown_again_and_again_are_silent(real_videos: Path):
    from vlar.media.video.decode import read_clip

    clip = read_clip(next((real_videos / "weizmann" / "walk").iterdir()), None, 2)
    repeated = np.repeat(clip.data, 16, axis=0)
    assert not reader().features(repeated, np.arange(32) / 10).any()


def test_two_real_people_side_by_side_are_both_followed(real_videos: Path):
    from vlar.media.video.decode import read_clip

    folder = sorted((real_videos / "weizmann" / "wave_one_hand").iterdir())
    one, other = (read_clip(path, None, 16) for path in folder[:2])
    both = np.concatenate([one.data, other.data], axis=2)
    tracks = features.tracks_from_features(reader().features(both, one.times_s))
    assert len(tracks.score) == 2
    assert ((tracks.score > 0.5).mean(axis=1) > 0.8).all()

"""Every attribute reads a generated figure as it moves, in its unit, with its sign."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.unit.pose.figure import ASPECT, Figure, walker, wave
from vlar.pose.attributes.base import attribute_names, find, measure
from vlar.pose.body import prepare_people
from vlar.pose.track import Tracks

T = Figure().time
STILL = Figure()


def value(name: str, *figures: Figure) -> float:
    return find(name).measure(figures[0].people(*figures[1:]))[0]


def arms(left: object, right: object) -> Figure:
    return Figure(arms=(left, right))


def test_a_figure_is_one_body_height_tall():
    body = STILL.people()[0]
    assert body.body_height == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("speed", [0.4, 1.2, 2.5])
def test_a_walk_reads_its_speed(speed: float):
    assert value("travel", walker(speed)) == pytest.approx(speed, rel=0.1)
    assert value("fast", walker(speed)) == pytest.approx(speed, rel=0.1)


@pytest.mark.parametrize("steps", [1.4, 2.0, 3.0])
def test_a_walk_reads_its_steps(steps: float):
    assert value("step_freq", walker(1.2, steps)) == pytest.approx(steps, rel=0.12)


def test_a_walk_alternates_and_keeps_a_foot_on_the_ground():
    assert value("leg_alt", walker()) > 0.8
    assert value("leg_swing", walker()) > 0.1
    assert value("airborne", walker()) < 0.05


def jump(height: float = 0.15) -> Figure:
    up = height * np.maximum(wave(T, 1.0), 0)
    return Figure(hip_drop=-up, lift=(0.0, 0.0))


def test_a_jump_leaves_the_ground_by_its_height_with_both_feet():
    assert value("airborne", jump(0.15)) == pytest.approx(0.15, abs=0.03)
    assert value("hop", jump()) > 0.9
    assert value("bounce", jump()) > 0.03
    assert value("bounce_freq", jump()) == pytest.approx(1.0, abs=0.15)


def test_sitting_down_lowers_the_hips_and_standing_up_lifts_them():
    down = np.interp(T, [0.8, 2.0], [0.0, 0.22])
    knee = np.interp(T, [0.8, 2.0], [0.0, 70.0])
    sit = Figure(hip_drop=down, legs=((knee, -0.3 * knee), (knee, -0.3 * knee)))
    assert value("hip_down", sit) == pytest.approx(0.22, abs=0.02)
    assert value("knee_end", sit) > 60
    rise = Figure(hip_drop=down[::-1], legs=((knee[::-1], 0.0), (knee[::-1], 0.0)))
    assert value("hip_down", rise) == pytest.approx(-0.22, abs=0.02)
    assert value("knee_end", rise) < -40


def test_a_bow_bends_by_its_angle_and_comes_back():
    bow = Figure(pitch=70 * np.exp(-(((T - 2) / 0.6) ** 2)))
    assert value("pitch_max", bow) == pytest.approx(66, abs=8)
    assert value("pitch_change", bow) > 50
    assert abs(value("pitch_end", bow)) < 10
    assert value("lying", bow) < 20


WAVING = arms((10, 10), (120, 150 + wave(T, 2.0, 30)))


def test_a_wave_is_one_raised_arm_that_repeats_at_its_rate():
    assert value("one_arm_up", WAVING) > 0.9
    assert value("both_arms_up", WAVING) == 0
    assert value("wrist_osc_freq", WAVING) == pytest.approx(2.0, rel=0.2)
    assert value("wrist_rep", WAVING) == pytest.approx(16, abs=3)
    assert value("both_arms", WAVING) < 0.1
    assert value("arm_only", WAVING) > 1
    assert value("wrist_horiz", WAVING) > 0.1


@pytest.mark.parametrize("fps", [8.0, 16.0])
def test_quick_fists_are_seen_at_few_frames_a_second(fps: float):
    time = np.arange(32) / fps
    punch = 40 + 30 * np.sign(wave(time, 4.0, phase=0.3))  # out and back four times a second
    boxer = Figure(n_frames=32, fps=fps, arms=((punch, punch + 40), (110 - punch, 150 - punch)))
    assert value("arm_energy", boxer) > 0.6
    assert value("arm_energy", Figure(n_frames=32, fps=fps)) < 0.05


def test_a_hand_that_is_lost_for_a_frame_has_not_moved():
    figure = Figure()
    points = figure.points()
    points[20, 15, :2] += 0.4  # most of a body height
    tracks = Tracks(points[None], np.ones((1, figure.n_frames), np.float32))
    people = prepare_people(tracks, figure.fps, ASPECT, figure.camera())
    assert measure(people).values[attribute_names().index("wrist_peak")] < 0.1


def test_both_arms_swinging_alike_are_symmetric():
    up = 90 + wave(T, 1.0, 60)
    jack = arms((up, up), (up, up))
    assert value("arms_sym", jack) > 0.95
    assert value("both_arms", jack) > 0.9
    assert value("periodic", jack) > 0.8
    assert value("pose_freq", jack) == pytest.approx(1.0, rel=0.1)
    turned = arms((up, up), (90 + wave(T, 1.0, 60, np.pi), 90 + wave(T, 1.0, 60, np.pi)))
    assert value("arms_sym", turned) < -0.8


def test_claps_are_counted():
    fore = -45 + wave(T, 2.0, 42)
    clap = arms((20, fore), (20, fore))
    assert value("clap_rate", clap) == pytest.approx(2.0, abs=0.5)
    assert value("hands_meet", clap) > value("hands_meet", STILL) + 0.02


def test_hands_up_rise_and_reach():
    up = np.interp(T, [1.0, 2.0], [10, 170])
    assert value("hands_rise", arms((up, up), (up, up))) > 0.3
    assert value("both_arms_up", arms((170, 170), (170, 170))) == 1
    assert value("arm_straight", arms((170, 170), (170, 170))) > 170
    assert value("arms_wide", arms((90, 90), (90, 90))) == 1
    assert value("hands_front", arms((10, 10), (90, 90))) > 0.3


def test_the_picture_has_a_left_and_a_right():
    # The figure's right hand is at the left of the picture; outwards is further left.
    out = np.interp(T, [1.5, 2.2], [210.0, 110.0])
    swipe = arms((10, 10), (45, out))
    assert value("swipe_left", swipe) > 0.1
    mirrored = arms((45, out), (10, 10))
    assert value("swipe_left", mirrored) < -0.1


def test_upside_down_lying_and_turning():
    assert value("upside", Figure(pitch=180.0)) == 1
    assert value("lying", Figure(pitch=90.0)) == pytest.approx(90, abs=2)
    half = Figure(n_frames=32).points()
    behind = Figure(n_frames=32, side=-1.0).points()
    points = np.concatenate([half, behind])[None]
    tracks = type(STILL.tracks())(points, np.ones((1, 64), np.float32))
    people = prepare_people(tracks, 16.0, ASPECT, STILL.camera())
    assert find("turn").measure(people)[0] > 0.3


def test_approach_is_growth_and_a_zoom_is_not():
    nearer = Figure(zoom=np.exp(0.2 * T))
    assert value("approach", nearer) == pytest.approx(0.2, abs=0.04)
    assert value("approach", Figure(zoom=np.exp(-0.2 * T))) == pytest.approx(-0.2, abs=0.04)
    camera = nearer.camera()
    camera[:, 2] = 0.2 / nearer.fps
    people = prepare_people(nearer.tracks(), nearer.fps, ASPECT, camera)
    assert abs(find("approach").measure(people)[0]) < 0.02


def test_two_people_who_meet():
    left = Figure(x=np.interp(T, [0, 3.9], [-0.6, -0.15]))
    right = Figure(x=np.interp(T, [0, 3.9], [0.6, 0.15]))
    assert value("two_people", left, right) == 1
    assert value("closing", left, right) == pytest.approx(0.9 / 4, rel=0.25)
    assert value("contact", Figure(x=-0.12), Figure(x=0.12)) > 0.9
    assert value("contact", Figure(x=-0.6), Figure(x=0.6)) == 0
    assert value("near", Figure(x=-0.6), Figure(x=0.6)) == pytest.approx(-1.2, rel=0.05)
    assert value("near", Figure(x=-0.12), Figure(x=0.12)) == pytest.approx(-0.24, rel=0.1)
    assert value("two_people", STILL) == 0


@pytest.mark.parametrize("pan", [0.01, -0.02])
def test_a_moving_camera_is_taken_off(pan: float):
    figure = Figure()
    points = figure.points()
    points[..., 0] += pan * np.arange(figure.n_frames)[:, None]
    camera = figure.camera()
    camera[:, 0] = pan
    tracks = type(figure.tracks())(points[None], np.ones((1, figure.n_frames), np.float32))
    people = prepare_people(tracks, figure.fps, ASPECT * 3, camera)
    assert find("travel").measure(people)[0] < 0.02


FIGURES: dict[str, Callable[[], Figure]] = {
    "still": lambda: STILL,
    "walk": walker,
    "jump": jump,
    "wave": lambda: WAVING,
    "upside down": lambda: Figure(pitch=180.0),
    "a point": lambda: Figure(zoom=1e-9),
    "half outside": lambda: Figure(at=0.0),
    "hidden": lambda: Figure(visible=np.zeros(33)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_all_attributes_are_finite_and_in_range(name: str):
    measured = measure(FIGURES[name]().people())
    assert np.isfinite(measured.values).all()
    assert ((measured.trust >= 0) & (measured.trust <= 1)).all()
    assert np.abs(measured.scaled()).max() <= 1
    assert 0 <= measured.visible_body <= 1


def test_what_is_hidden_is_not_trusted():
    visible = np.ones(33)
    visible[25:] = 0
    rows = dict(
        zip(attribute_names(), measure(walker(visible=visible).people()).trust, strict=True)
    )
    assert rows["leg_swing"] == rows["airborne"] == rows["kick"] == 0
    assert rows["travel"] == pytest.approx(1, abs=0.05)
    assert measure(Figure(visible=np.zeros(33)).people()).visible_body < 0.1


def test_nobody_claims_nothing():
    measured = measure([])
    assert measured.visible_body == 0
    assert not measured.scaled().any()

"""Corruptions of pixels and of time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.test_corruptions import difference, scene
from vlar.evaluation.corruptions.base import SEVERITIES, corrupt


def test_noise_is_another_one_in_every_frame():
    still = np.full((2, 32, 32, 3), 128, np.uint8)
    for name in ("gaussian-noise", "shot-noise", "impulse-noise"):
        noisy = corrupt(still, name, 3, seed=0)
        assert not np.array_equal(noisy[0], noisy[1]), name


def test_gaussian_noise_has_the_stated_deviation():
    grey = np.full((4, 128, 128, 3), 128, np.uint8)
    noisy = corrupt(grey, "gaussian-noise", 1, seed=0).astype(float)
    assert noisy.std() == pytest.approx(0.04 * 255, rel=0.02)
    assert noisy.mean() == pytest.approx(128, abs=0.2)


def test_impulses_hit_the_stated_share_half_of_them_white():
    grey = np.full((2, 200, 200, 3), 128, np.uint8)
    noisy = corrupt(grey, "impulse-noise", 4, seed=0)
    assert (noisy != 128).mean() == pytest.approx(0.18, abs=0.01)
    assert (noisy == 255).mean() == pytest.approx(0.09, abs=0.01)


@pytest.mark.parametrize("name", ["defocus-blur", "motion-blur", "zoom-blur"])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_blur_keeps_a_plain_picture_and_lowers_the_variance_of_others(name: str, severity: int):
    plain = np.full((1, 40, 60, 3), 77, np.uint8)
    assert np.array_equal(corrupt(plain, name, severity, seed=0), plain)
    frames = np.random.default_rng(0).integers(0, 256, (1, 40, 60, 3), np.uint8)
    assert corrupt(frames, name, severity, seed=0).std() < frames.std()


def test_a_shake_has_one_direction_a_clip_and_another_with_another_seed():
    dot = np.zeros((2, 41, 41, 3), np.uint8)
    dot[:, 20, 20] = 255
    first = corrupt(dot, "motion-blur", 4, seed=0)
    assert np.array_equal(first[0], first[1])
    assert not np.array_equal(first, corrupt(dot, "motion-blur", 4, seed=1))


def test_brightness_and_contrast_do_as_stated():
    ramp = np.arange(240, dtype=np.uint8).reshape(1, 4, 20, 3)
    brighter = corrupt(ramp, "brightness", 1, seed=0)
    assert np.array_equal(brighter, np.minimum(ramp.astype(int) + 26, 255))
    flat = corrupt(ramp, "contrast", 5, seed=0).astype(float)
    assert flat.std() == pytest.approx(0.1 * ramp.std(), rel=0.05)
    assert flat.mean() == pytest.approx(ramp.mean(), abs=0.6)


def test_fog_only_adds_light_and_drifts():
    black = np.zeros((3, 48, 64, 3), np.uint8)
    foggy = corrupt(black, "fog", 3, seed=0)
    assert foggy.min() > 0
    assert not np.array_equal(foggy[0], foggy[2])


def test_a_rotation_of_a_disk_keeps_it_and_turns_the_rest():
    y, x = np.mgrid[:64, :64]
    disk = np.where(np.hypot(x - 31.5, y - 31.5) < 20, 200, 50).astype(np.uint8)
    frames = np.repeat(disk[None, :, :, None], 3, axis=-1)
    turned = corrupt(frames, "rotation", 5, seed=0)
    assert difference(turned, frames) < 3
    bar = np.full((1, 64, 64, 3), 50, np.uint8)
    bar[:, 30:34] = 200
    assert difference(corrupt(bar, "rotation", 5, seed=0), bar) > 5


def test_bit_errors_go_through_the_decoder_and_h264_keeps_the_picture():
    frames = scene(24, 96, 128)
    clean = corrupt(frames, "h264", 1, seed=0)
    assert difference(clean, frames) < 12
    damaged = [corrupt(frames, "bit-errors", s, seed=5) for s in SEVERITIES]
    steps = [difference(each, frames) for each in damaged]
    assert steps[-1] > 2 * steps[0]
    # A lost frame shows the one before: damage starts somewhere and need not reach frame 0.
    assert difference(damaged[1][0], frames[0]) < difference(damaged[4], frames)


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

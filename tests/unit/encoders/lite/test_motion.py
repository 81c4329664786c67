from __future__ import annotations

import numpy as np
import pytest

from vlar.encoders.lite.encoder import MOTION_BLOCKS, MOTION_WIDTH, motion_features

T = 8


def _texture(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """Smooth random grey, like a room: gradients everywhere."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    for _ in range(6):
        noise = sum(np.roll(noise, s, a) for s in (-1, 1) for a in (0, 1)) / 4 + noise / 4
    return 128 + 60 * noise / np.abs(noise).max()


def _clip(path, *, seed=0, size=(40, 24), background=1.0) -> np.ndarray:
    """A textured rectangle whose centre follows ``path`` (T, 2) in x, y over a textured room."""
    room = 128 + background * (_texture(seed) - 128)
    actor = 40 + 0.5 * _texture(seed + 100, *size)
    frames = []
    for x, y in path:
        frame = room.copy()
        top, left = round(y - size[0] / 2), round(x - size[1] / 2)
        frame[top : top + size[0], left : left + size[1]] = actor
        frames.append(np.repeat(frame[..., None], 3, axis=2))
    return np.clip(frames, 0, 255).astype(np.uint8)


def _line(start, step) -> np.ndarray:
    return np.array(start) + np.arange(T)[:, None] * np.array(step)


def _unit(x):
    x = x.ravel()
    return x / np.linalg.norm(x)


def _cosine(a, b) -> float:
    return float(_unit(a.mean(0)) @ _unit(b.mean(0)))


def test_blocks_add_up_to_the_width():
    assert sum(block.width for block in MOTION_BLOCKS) == MOTION_WIDTH
    features = motion_features(_clip(_line((40, 60), (6, 0))))
    assert features.shape == (T, MOTION_WIDTH)
    assert features.dtype == np.float32


def test_one_frame_and_no_frame_give_zeros():
    frames = _clip(_line((40, 60), (6, 0)))
    assert motion_features(frames[:1]).tolist() == [[0.0] * MOTION_WIDTH]
    assert motion_features(frames[:0]).shape == (0, MOTION_WIDTH)


def test_a_still_scene_gives_nothing_even_with_sensor_noise():
    still = _clip(np.tile([80, 60], (T, 1))).astype(float)
    noisy = np.clip(still + np.random.default_rng(0).normal(0, 2, still.shape), 0, 255)
    moving = motion_features(_clip(_line((40, 60), (6, 0))))
    assert np.abs(motion_features(still.astype(np.uint8))).max() == 0
    assert np.linalg.norm(motion_features(noisy.astype(np.uint8))) < 0.05 * np.linalg.norm(moving)


def test_a_mirror_keeps_the_motion_and_negates_the_direction():
    frames = _clip(_line((40, 70), (6, -2)))
    seen, mirrored = motion_features(frames), motion_features(frames[:, :, ::-1])
    half = MOTION_BLOCKS[0].width
    assert np.linalg.norm(seen[:, half:]) > 0.3 * np.linalg.norm(seen)
    expected = np.concatenate([seen[:, :half], -seen[:, half:]], axis=1)
    assert np.linalg.norm(mirrored - expected) < 0.2 * np.linalg.norm(seen)


def test_up_and_across_differ_more_than_place_and_clothes_do():
    across = motion_features(_clip(_line((40, 60), (6, 0))))
    elsewhere = motion_features(_clip(_line((90, 50), (6, 0)), seed=7))
    up = motion_features(_clip(_line((80, 90), (0, -6))))
    half = MOTION_BLOCKS[0].width
    assert _cosine(across, elsewhere) > 0.85
    assert _cosine(across[:, :half], up[:, :half]) < 0.7


def test_the_moves_of_the_camera_are_left_out():
    room = np.repeat(_texture(3, 200, 300)[..., None], 3, axis=2)
    pan = np.stack([room[30:150, 4 * t + 20 : 4 * t + 180] for t in range(T)]).astype(np.uint8)
    actor = motion_features(_clip(_line((40, 60), (6, 0))))
    assert np.square(motion_features(pan)).sum() < 0.15 * np.square(actor).sum()


def test_faster_means_more():
    slow, fast = (motion_features(_clip(_line((40, 60), (s, 0)))) for s in (3, 9))
    assert np.linalg.norm(fast) > 1.3 * np.linalg.norm(slow)


def test_twice_the_frames_show_the_same_over_steps_of_two():
    dense = _clip(np.array((40, 60)) + np.arange(2 * T + 1)[:, None] * np.array((1, 0)))
    few, many = motion_features(dense[::2]), motion_features(dense, 2)
    np.testing.assert_array_equal(many, np.repeat(few, 2, axis=0)[: len(dense)])
    # Such slow moves are half lost in single steps.
    assert np.linalg.norm(motion_features(dense).mean(0)) < 0.8 * np.linalg.norm(few.mean(0))


def test_a_clip_shorter_than_a_step_gives_zeros():
    frames = _clip(_line((40, 60), (6, 0)))
    assert motion_features(frames[:3], 3).tolist() == [[0.0] * MOTION_WIDTH] * 3
    assert motion_features(frames[:4], 3).any()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 500), (400, 30), (33, 33)])
def test_any_frame_size_works(shape):
    frames = np.random.default_rng(0).integers(0, 256, (5, *shape, 3)).astype(np.uint8)
    features = motion_features(frames)
    assert features.shape == (5, MOTION_WIDTH)
    assert np.isfinite(features).all()


def test_the_same_frames_give_the_same_features():
    frames = _clip(_line((40, 60), (5, 1)))
    before = frames.copy()
    assert np.array_equal(motion_features(frames), motion_features(frames))
    assert np.array_equal(frames, before)

"""Changes of clips: the same for all frames, drawn from the key alone, targets in step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlar.encoders.base import Preprocess
from vlar.training.data import clip_pixels, mix, moved_times, random_for, window_share
from vlar.training.hyperparameters import Hyperparameters
from vlar.training.label_losses import LabelTargets

SIZE = Preprocess(16, 16, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
PLAN = Hyperparameters(colour=1.0)


@given(seed=st.integers(0, 1000), height=st.integers(8, 40), width=st.integers(8, 40))
@settings(max_examples=30, deadline=None)
def test_all_frames_change_alike(seed: int, height: int, width: int):
    picture = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    frames = np.repeat(picture, 3, axis=0)
    seen = clip_pixels(frames, SIZE, PLAN, random_for(seed))
    assert seen.shape == (3, 3, 16, 16)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen, clip_pixels(frames, SIZE, PLAN, random_for(seed)))
    assert torch.isfinite(seen).all()


def test_without_a_draw_a_clip_is_as_in_a_test_and_flips_can_be_forbidden():
    ramp = np.zeros((2, 16, 16, 3), np.uint8) + np.arange(0, 256, 16, dtype=np.uint8)[:, None]
    plain = clip_pixels(ramp, SIZE, PLAN, None)
    wanted = torch.from_numpy(ramp).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (SIZE.mean, SIZE.std))
    assert torch.allclose(plain, (wanted - mean) / std, atol=1e-5)
    for flip, both in ((True, True), (False, False)):
        plan = Hyperparameters(flip=flip, colour=0, grey=0)
        draws = [clip_pixels(ramp, SIZE, plan, random_for(i)) for i in range(30)]
        rising = {bool(x[0, 0, 8, -1] > x[0, 0, 8, 0]) for x in draws}
        assert rising == ({True, False} if both else {True})


def test_times_move_but_keep_their_order():
    x = torch.arange(12.0)[:, None]
    for seed in range(50):
        moved = moved_times(x, PLAN, random_for(seed))[:, 0]
        assert (moved.diff() >= 0).all()
        assert set(moved.tolist()) <= set(range(12))
        begin, end = window_share(PLAN, random_for(seed))
        assert 0 <= begin < end <= 1
        assert end - begin >= 1 - PLAN.time_jitter - 1e-9


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_mixed_targets_are_the_shares_of_the_pixels(mixup: float, cutmix: float):
    inputs = torch.eye(4)[:, :, None, None, None].expand(4, 4, 3, 32, 32).transpose(0, 1)
    inputs = inputs.transpose(0, 1).contiguous()  # clip i is 1 in frame i and 0 elsewhere
    plan = replace(PLAN, mixup=mixup, cutmix=cutmix)
    for seed in range(20):
        mixed, targets = mix(inputs, LabelTargets(torch.eye(4)), plan, random_for(seed))
        assert torch.allclose(mixed.mean(dim=(2, 3, 4)), targets.labels, atol=1e-5)
        assert torch.allclose(targets.labels.sum(1), torch.ones(4), atol=1e-6)

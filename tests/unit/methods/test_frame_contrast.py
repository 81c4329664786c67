"""Contrast of frames: equal times of two views against other times of the same clip."""

from __future__ import annotations

import math

import pytest
import torch

from vlar.methods.events.objective import FrameContrast, frame_contrast


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("frames", [2, 4, 7])
def test_orthogonal_frames_have_a_known_value(frames: int, temperature: float):
    views = torch.eye(8)[None, :frames]
    wanted = math.log1p((2 * frames - 2) * math.exp(-1 / temperature))
    loss = float(frame_contrast(views, 3 * views, temperature))
    assert loss == pytest.approx(wanted, abs=1e-6)
    if frames == 4 and temperature == 1:
        assert loss == pytest.approx(1.165422, abs=1e-5)
    if frames == 4 and temperature == 0.1:
        assert loss == pytest.approx(2.723625e-4, abs=1e-6)


def test_other_clips_are_not_negatives():
    random = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, 5, 6, generator=random) for _ in range(2))
    each = [frame_contrast(a[n : n + 1], b[n : n + 1], 0.2) for n in range(3)]
    torch.testing.assert_close(frame_contrast(a, b, 0.2), torch.stack(each).mean())
    copies = a[:1].expand(3, -1, -1)
    torch.testing.assert_close(
        frame_contrast(copies, copies, 0.2), frame_contrast(a[:1], a[:1], 0.2)
    )


def test_equal_times_are_matched_and_the_stride_leaves_frames_out():
    random = torch.Generator().manual_seed(1)
    a = torch.randn(2, 8, 16, generator=random)
    assert frame_contrast(a, a, 0.1) < frame_contrast(a, a.roll(1, dims=1), 0.1) - 1
    torch.testing.assert_close(
        frame_contrast(a, a, 0.1, 4), frame_contrast(a[:, ::4], a[:, ::4], 0.1)
    )
    assert float(frame_contrast(a[:, :1], a[:, :1], 0.1)) == 0
    assert float(frame_contrast(torch.ones(1, 4, 3), torch.ones(1, 4, 3), 0.1)) == pytest.approx(
        math.log(7), abs=1e-5
    )


def test_its_view_keeps_the_times():
    (view,) = FrameContrast().views().values()
    assert view.changes["time_jitter"] == 0

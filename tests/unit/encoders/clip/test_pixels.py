"""Frames to pixels: one small copy to a device, and the same pixels for all devices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.fake_device import DEVICE, fake_device
from vlar.encoders.clip.pixels import Pixels, normalised, resized, to_pixels

CPU = torch.device("cpu")
WANTED = Pixels(32, 48, (0.1, 0.2, 0.3), (0.5, 0.25, 0.2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_clip_is_one_copy_and_has_the_pixels_of_a_cpu(dtype: torch.dtype) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 90, 160, 3), dtype=np.uint8)
    with fake_device() as counts:
        device = torch.device(DEVICE, 0)
        to_pixels(frames, WANTED, device, dtype)  # factor and offset stay on the device
        before = counts.to_device
        pixels = to_pixels(frames, WANTED, device, dtype)
        assert (counts.to_device - before, counts.syncs) == (1, 0)
        assert pixels.device == device
        assert torch.equal(pixels.cpu(), to_pixels(frames, WANTED, CPU, dtype))


def test_pixels_are_scaled_by_mean_and_std() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    expected = (frames / 255 - WANTED.mean) / WANTED.std
    pixels = to_pixels(frames, WANTED, CPU)
    np.testing.assert_allclose(pixels.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)
    floats = resized(frames, WANTED).float()
    assert torch.equal(normalised(floats, WANTED, CPU, torch.float32), floats)

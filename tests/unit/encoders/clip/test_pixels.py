"""Frames to pixels: one small copy to a device, and the same pixels for all devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vlar.encoders.clip.pixels import Pixels, normalised, resized, to_pixels

CPU, DEVICE = torch.device("cpu"), torch.device("meta")
WANTED = Pixels(32, 48, (0.1, 0.2, 0.3), (0.5, 0.25, 0.2))


class Copies(TorchDispatchMode):
    """Types and shapes of what is copied from the CPU to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[torch.dtype, tuple[int, ...]]] = []

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        source = next((x for x in args if isinstance(x, torch.Tensor)), output)
        if source.device == CPU and output.device == DEVICE:
            self.rows.append((source.dtype, tuple(source.shape)))
        return output


def test_a_clip_is_one_copy_of_its_small_uint8_pixels() -> None:
    frames = np.zeros((4, 90, 160, 3), np.uint8)
    to_pixels(frames, WANTED, DEVICE)  # factor and offset stay on the device
    with Copies() as copies:
        pixels = to_pixels(frames, WANTED, DEVICE, torch.bfloat16)
    assert copies.rows == [(torch.uint8, (4, 3, 32, 48))]
    assert (pixels.device, pixels.dtype, pixels.shape) == (DEVICE, torch.bfloat16, (4, 3, 32, 48))


def test_pixels_are_scaled_by_mean_and_std() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    expected = (frames / 255 - WANTED.mean) / WANTED.std
    pixels = to_pixels(frames, WANTED, CPU)
    np.testing.assert_allclose(pixels.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)
    floats = resized(frames, WANTED).float()
    assert torch.equal(normalised(floats, WANTED, CPU, torch.float32), floats)

"""Clips that show nothing, to measure what an encoder answers to them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlar.types import UInt8


def blank_clips(n_frames: int, height: int, width: int) -> UInt8:
    """Clips that show nothing: plain colours, noise of several grains, gradients.

    Args:
        n_frames: T frames each.
        height: Pixels.
        width: Pixels.

    Returns:
        (M, T, H, W, 3) uint8, M = 12; the noise changes from frame to frame.
    """
    random = np.random.default_rng(0)
    shape = (n_frames, height, width)
    clips: list[npt.NDArray[np.floating]] = [
        np.broadcast_to(np.array(colour, np.float64), (*shape, 3))
        for colour in ((0, 0, 0), (255, 255, 255), (128, 128, 128), (190, 40, 40), (40, 60, 180))
    ]
    clips.append(random.uniform(0, 256, (*shape, 3)))
    clips.append(random.normal(128, 40, (*shape, 3)))
    clips.append(random.normal(24, 8, (*shape, 3)))
    clips.append(np.repeat(random.uniform(0, 256, (*shape, 1)), 3, axis=-1))
    clips.append(np.repeat(255.0 * random.integers(0, 2, (*shape, 1)), 3, axis=-1))
    coarse = random.uniform(0, 256, (n_frames, -(-height // 8), -(-width // 8), 3))
    clips.append(coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width])
    ramp = np.linspace(0, 255, width)[None, None, :, None]
    clips.append(np.broadcast_to(ramp, (*shape, 3)))
    return np.stack([clip.clip(0, 255).astype(np.uint8) for clip in clips])

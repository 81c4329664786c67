"""Noise of a sensor, drawn again for every frame, as a camera does in poor light."""

from __future__ import annotations

import numpy as np

from vlar.evaluation.corruptions.base import Corruption
from vlar.registry import register
from vlar.types import UInt8


@register("corruption", "gaussian-noise")
class GaussianNoise(Corruption):
    """Normal noise; ``levels`` are standard deviations as a share of the full range."""

    family = "noise"
    levels = (0.04, 0.08, 0.14, 0.22, 0.34)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        """See ``Corruption``; frame by frame, so that memory stays that of one frame."""
        noisy = np.empty_like(frames)
        for number, frame in enumerate(frames):
            noise = random.standard_normal(frame.shape, dtype=np.float32)
            noisy[number] = _to_bytes(frame + 255 * level * noise)
        return noisy


@register("corruption", "shot-noise")
class ShotNoise(Corruption):
    """Poisson noise; ``levels`` are the photons that a white pixel receives."""

    family = "noise"
    levels = (60.0, 25.0, 12.0, 5.0, 2.5)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        """See ``Corruption``."""
        noisy = np.empty_like(frames)
        for number, frame in enumerate(frames):
            noisy[number] = _to_bytes(random.poisson(frame / 255 * level) / level * 255)
        return noisy


@register("corruption", "impulse-noise")
class ImpulseNoise(Corruption):
    """Salt and pepper; ``levels`` are the share of values that become 0 or 255."""

    family = "noise"
    levels = (0.02, 0.05, 0.1, 0.18, 0.3)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        """See ``Corruption``."""
        noisy = np.empty_like(frames)
        for number, frame in enumerate(frames):
            hit = random.random(frame.shape, dtype=np.float32) < level
            salt = 255 * random.integers(0, 2, frame.shape, dtype=np.uint8)
            noisy[number] = np.where(hit, salt, frame)
        return noisy


def _to_bytes(values: np.ndarray) -> UInt8:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)

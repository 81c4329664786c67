"""Noise of a sensor, drawn again for every frame, as a camera does in poor light."""

from __future__ import annotations

import numpy as np

from vlar.evaluation.corruptions.base import Corruption, FrameCorruption
from vlar.registry import register
from vlar.types import Float32, UInt8


@register("corruption", "gaussian-noise")
class GaussianNoise(FrameCorruption):
    """Normal noise; ``levels`` are standard deviations as a share of the full range."""

    family = "noise"
    levels = (0.04, 0.08, 0.14, 0.22, 0.34)

    def change(self, frame: UInt8, level: float, random: np.random.Generator) -> UInt8:
        noise = random.standard_normal(frame.shape, dtype=np.float32)
        return _to_bytes(frame + 255 * level * noise)


@register("corruption", "shot-noise")
class ShotNoise(FrameCorruption):
    """Poisson noise; ``levels`` are the photons that a white pixel receives."""

    family = "noise"
    levels = (60.0, 25.0, 12.0, 5.0, 2.5)

    def change(self, frame: UInt8, level: float, random: np.random.Generator) -> UInt8:
        return _to_bytes(random.poisson(frame / 255 * level) / level * 255)


@register("corruption", "impulse-noise")
class ImpulseNoise(FrameCorruption):
    """Salt and pepper; ``levels`` are the share of values that become 0 or 255."""

    family = "noise"
    levels = (0.02, 0.05, 0.1, 0.18, 0.3)

    def change(self, frame: UInt8, level: float, random: np.random.Generator) -> UInt8:
        hit = random.random(frame.shape, dtype=np.float32) < level
        salt = 255 * random.integers(0, 2, frame.shape, dtype=np.uint8)
        return np.where(hit, salt, frame)


def _to_bytes(values: np.ndarray) -> UInt8:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


_OCTAVES = 5
_DRIFT = 0.25  # widths of the picture that the fog moves during a clip


@register("corruption", "fog")
class Fog(Corruption):
    """White fog in clouds of all sizes; ``levels`` are the share that it hides where it is dense.

    The clouds drift sideways during the clip.
    """

    family = "weather"
    levels = (0.25, 0.4, 0.55, 0.68, 0.8)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        n_frames, height, width = frames.shape[:3]
        cloud = _clouds(height, width + int(_DRIFT * width) + 1, random)
        result = np.empty_like(frames)
        for number, frame in enumerate(frames):
            shift = int(_DRIFT * width * number / max(n_frames - 1, 1))
            hidden = level * (0.5 + 0.5 * cloud[:, shift : shift + width, None])
            result[number] = np.rint(frame * (1 - hidden) + 255 * hidden)
        return result


@register("corruption", "brightness")
class Brightness(Corruption):
    """Too much light; ``levels`` are added to every value, as a share of the full range."""

    family = "weather"
    levels = (0.1, 0.2, 0.3, 0.4, 0.5)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        table = np.clip(np.arange(256) + round(255 * level), 0, 255).astype(np.uint8)
        return table[frames]


@register("corruption", "contrast")
class Contrast(Corruption):
    """Values drawn to the clip's mean; ``levels`` are the share of the contrast that is left."""

    family = "weather"
    levels = (0.7, 0.5, 0.35, 0.2, 0.1)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        mean = float(frames.mean())
        table = np.rint(mean + level * (np.arange(256) - mean)).astype(np.uint8)
        return table[frames]


def _clouds(height: int, width: int, random: np.random.Generator) -> Float32:
    """(height, width) in 0..1: smooth noise of halving sizes and weights (value noise)."""
    from scipy.ndimage import map_coordinates

    total = np.zeros((height, width), np.float32)
    for octave in range(_OCTAVES):
        cells = 2 ** (octave + 1)
        grid = random.random((cells + 2, cells + 2), dtype=np.float32)
        y, x = np.meshgrid(
            np.linspace(0.5, cells + 0.5, height),
            np.linspace(0.5, cells + 0.5, width),
            indexing="ij",
        )
        total += map_coordinates(grid, [y, x], order=1, mode="nearest") * 0.5**octave
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)

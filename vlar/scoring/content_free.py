"""Rows that show nothing: known by the encoder's own answer to blank and noise frames."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vlar.types import Float32, Float64, UInt8

_STEEPNESS = 4.0  # logit at the reference's own neighbourhood: 0.98 of the mass moves


class ContentFree:
    """Tells rows that show nothing (blank, noise) by the encoder's answer to such frames.

    The nearness at which half of the mass moves is the median cosine between two references: a row
    that near to one of them is their like. It is taken from the encoder itself, so it suits every
    space.

    Args:
        references: (M, D) unit vectors of content-free clips; with fewer than 3 nothing is told.
    """

    def __init__(self, references: Float32) -> None:
        self._references = references
        self._middle, self._slope = math.inf, 0.0
        if len(references) < 3:
            return
        cosines = (references @ references.T).astype(np.float64)
        others = cosines[~np.eye(len(cosines), dtype=bool)].reshape(len(cosines), -1)
        self._middle = float(np.median(others))
        nearest = float(np.median(others.max(axis=1)))
        self._slope = _STEEPNESS / max(nearest - self._middle, 1e-3)

    def probability(self, rows: Float32) -> Float64:
        """(N,) probability that a row shows nothing, for (N, D) unit rows."""
        if math.isinf(self._middle):
            return np.zeros(len(rows))
        nearness = (rows @ self._references.T).max(axis=1).astype(np.float64)
        return _sigmoid(self._slope * (nearness - self._middle))


def _sigmoid(x: Float64) -> Float64:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def content_free_clips(n_frames: int, height: int, width: int, *, seed: int = 0) -> UInt8:
    """Clips that show nothing: plain colours, noise of several grains, gradients.

    Args:
        n_frames: T frames each.
        height: Pixels.
        width: Pixels.
        seed: Of the noise.

    Returns:
        (M, T, H, W, 3) uint8, M = 12; the noise changes from frame to frame.
    """
    random = np.random.default_rng(seed)
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

"""Motion in a clip, frame by frame, from pixels alone, without a pose model.

Dense optical flow between frames a step apart (pyramidal Lucas-Kanade, 1981, at 60 rows), minus the
camera's own motion (a robust affine fit of the flow), is summed as histograms of flow directions on
a grid that follows the moving region and scales with it (after Efros et al., "Recognizing action at
a distance", 2003, and the HOF of Laptev et al., 2008). Only speeds count, so clothes, light and
background matter little.

Every histogram is split into a part that is equal for the mirror image (``motion``) and a part that
changes sign (``direction``). A walk to the left and one to the right agree in the first and are
opposite in the second. A method can use either.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.encoders.base import FrameBlock
from vlar.pose.optical_flow import camera_design, camera_flow, optical_flow, small_grey
from vlar.types import Float32, UInt8

Floats = npt.NDArray[np.floating[Any]]

# Version of the numbers that this file and ``vlar.pose.optical_flow`` compute. Increase it with
# every change: saved models would otherwise read histograms that they were not fitted to.
VERSION = 2

_GRID = 4  # cells along each side of the moving region; even, so that a mirror swaps all columns
_BINS = 8  # flow directions; even, so that a mirror swaps bins
_STILL = 0.35  # pixels per step; slower is noise
_FASTEST = 12.0  # pixels per step; faster is a scene cut or a wrong match
_REGION = 2.4  # half side of the region, in vertical spreads of the motion
_SMALLEST = 6.0  # pixels; half side below which the region does not shrink
_HALF = _GRID * _GRID * _BINS // 2

MOTION_BLOCKS = (
    FrameBlock("motion", _HALF, "motion"),
    FrameBlock("direction", _HALF, "direction"),
)
MOTION_WIDTH = sum(block.width for block in MOTION_BLOCKS)


def motion_features(frames: UInt8, step: int = 1) -> Float32:
    """Histograms of flow directions around what moves.

    Rows t to t + step - 1 hold the flow from frame t to frame t + step, for t = 0, step, 2 step and
    so on; the last rows repeat those before. The entries are square roots of speeds, in heights of
    the moving region per step times 10.

    Args:
        frames: (T, H, W, 3) uint8 RGB, in time order, evenly spaced.
        step: Frames between the two images of a flow, at least 1. Densely sampled frames need more:
            a movement below the noise of the flow is lost.

    Returns:
        (T, MOTION_WIDTH) float32, laid out as ``MOTION_BLOCKS``; zeros for a single frame, and
        nearly so where nothing moves. Mirrored frames give the same ``motion`` and the negative
        ``direction``.
    """
    n_frames = len(frames)
    frames = frames[::step]
    if len(frames) < 2:
        return np.zeros((n_frames, MOTION_WIDTH), np.float32)
    grey = small_grey(frames)
    first, second = grey[:-1], grey[1:]
    flow = _without_camera(first, *optical_flow(first, second))
    cells = _histograms(*flow)
    mirrored = cells[:, :, ::-1][..., (_BINS // 2 - np.arange(_BINS)) % _BINS]
    left = slice(0, _GRID // 2)
    even = (cells + mirrored)[:, :, left].reshape(len(first), -1)
    odd = (cells - mirrored)[:, :, left].reshape(len(first), -1)
    rows = np.concatenate([even, odd], axis=1) / np.sqrt(2.0)
    rows = np.concatenate([rows, rows[-1:]]).astype(np.float32)
    return np.repeat(rows, step, axis=0)[:n_frames]


def _without_camera(first: Floats, u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Flow minus its dominant affine motion."""
    count, height, width = u.shape
    flow = np.stack([u, v], -1).reshape(count, -1, 2).astype(np.float64)
    camera = camera_design(u.shape) @ camera_flow(first, u, v)
    # New content at the border has no match in the first frame: its motion is set to 0.
    y, x = np.mgrid[:height, :width].astype(np.float64)
    seen = np.stack([x.ravel(), y.ravel()], -1) + 2 * camera
    inside = ((seen >= 0) & (seen <= (width - 1, height - 1))).all(axis=2, keepdims=True)
    rest = np.where(inside, flow - camera, 0).reshape(count, height, width, 2)
    return rest[..., 0].astype(np.float32), rest[..., 1].astype(np.float32)


def _histograms(u: Floats, v: Floats) -> Floats:
    """Flow directions on the grid of the moving region: (N, rows, columns, directions)."""
    speed = np.minimum(np.maximum(np.hypot(u, v) - _STILL, 0), _FASTEST)
    weight = np.minimum(speed, 3.0)
    total = weight.sum(axis=(1, 2)) + 1e-6
    y, x = np.arange(u.shape[1]), np.arange(u.shape[2])
    rows, columns = weight.sum(2) / total[:, None], weight.sum(1) / total[:, None]
    centre_y, centre_x = rows @ y, columns @ x
    spread = np.sqrt((rows * (y - centre_y[:, None]) ** 2).sum(1))
    half = max(_REGION * float(spread @ total / total.sum()), _SMALLEST)
    to_row = _cell_weights(y, _smooth(centre_y, total), half)
    to_column = _cell_weights(x, _smooth(centre_x, total), half)
    angle = np.arctan2(v, u)[..., None] - 2 * np.pi * np.arange(_BINS) / _BINS
    parts = speed[..., None] * np.maximum(np.cos(angle), 0) ** 2
    cells = np.einsum("nay,nyxd,nbx->nabd", to_row, parts, to_column, optimize=True)
    return np.sqrt(cells * (10 / half)).astype(np.float32)


def _smooth(values: Floats, weights: Floats) -> Floats:
    """Weighted mean over five neighbours in time, so that the region moves smoothly."""
    kernel = np.ones(5)
    n = len(values)
    top, bottom = np.convolve(values * weights, kernel), np.convolve(weights, kernel)
    return (top / bottom)[2 : 2 + n]


def _cell_weights(positions: Floats, centre: Floats, half: float) -> Floats:
    """(N, cells, pixels): bilinear weight of each pixel in each cell of the region."""
    place = ((positions[None] - centre[:, None]) / (2 * half) + 0.5) * _GRID
    cell = np.arange(_GRID) + 0.5
    return np.maximum(0, 1 - np.abs(place[:, None] - cell[None, :, None]))

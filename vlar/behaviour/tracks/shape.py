"""Shape of a body: places of points that a recording lacks, from those that it has.

A place is the mean of the others, weighted by least squares; in a plane the weights are complex
numbers, so that the place turns, moves and grows with the body. All weights follow from one matrix
of products of the points.

Letters: T frames, M animals, V points, C coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vlar.behaviour.tracks.channels import body_length
from vlar.types import Float32

Complex = npt.NDArray[np.complex128]
_LEAST_FRAMES = 50
_RIDGE = 1e-4  # of the mean square of the points
_JITTER = 0.0005, 0.02  # least and most deviation, in the size of the body
_SLOWEST_S = 0.3  # that a jitter takes


def products_of(points: Float32) -> Complex:
    """(V, V) mean products of the points around their middle, which is 1 on average.

    Args:
        points: (T, M, V, C) of frames of any recordings.

    Returns:
        Zeros where hardly any frame has all points.
    """
    rows = _rows(points)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) < _LEAST_FRAMES:
        return np.zeros((points.shape[2],) * 2, np.complex128)
    rows = rows - rows.mean(axis=1, keepdims=True)
    products = rows.T @ rows.conj() / len(rows)
    return products / max(float(np.trace(products).real), 1e-12)


def completed(points: Float32, products: Complex, lacking: Sequence[int]) -> Float32:
    """Points (T, M, V, C) with places of those that are lacking; two at least are present.

    Args:
        points: As a file has them.
        products: Of ``products_of``.
        lacking: Numbers of the points that get a place.
    """
    present = [n for n in range(points.shape[2]) if n not in set(lacking)]
    middle = np.eye(len(products))
    middle[:, present] -= 1 / len(present)
    around = middle @ products @ middle.T
    inner = around[np.ix_(present, present)]
    ridge = _RIDGE * max(float(np.trace(inner).real), 1e-12) * np.eye(len(present))
    weights = np.linalg.solve((inner + ridge).T, around[np.ix_(lacking, present)].T).T
    rows = _rows(points[:, :, present])
    centre = rows.mean(axis=1, keepdims=True)
    places = (rows - centre) @ weights.T + centre
    result = points.copy()
    shape = (*points.shape[:2], len(lacking))
    if points.shape[3] == 2:
        result[:, :, lacking, 0] = places.real.reshape(shape)
        result[:, :, lacking, 1] = places.imag.reshape(shape)
    else:
        flat = places.real.reshape(*points.shape[:2], points.shape[3], len(lacking))
        result[:, :, lacking] = np.moveaxis(flat, 2, 3)
    return result


def jittered(points: Float32, rate_hz: float, random: np.random.Generator) -> Float32:
    """Points (T, M, V, C) as a poorer tracker gives them: each moved a little, quickly or slowly.

    Args:
        points: At even frames.
        rate_hz: Frames a second.
        random: Draws the size and the time of the jitter.
    """
    size = np.exp(random.uniform(*np.log(_JITTER))) * body_length(points[::10])
    width = int(random.integers(1, 1 + max(1, round(_SLOWEST_S * rate_hz))))
    noise = random.normal(size=(len(points) + width, *points.shape[1:])).astype(np.float32)
    sums = np.cumsum(noise, axis=0)
    share = random.uniform(size=(1, 1, points.shape[2], 1))
    return points + (sums[width:] - sums[:-width]) * (size * share / width**0.5).astype(np.float32)


def _rows(points: Float32) -> Complex:
    """Points (T, M, V, C) as rows (n, V): complex numbers of a plane, else each coordinate."""
    if points.shape[3] == 2:
        return (points[..., 0] + 1j * points[..., 1]).reshape(-1, points.shape[2])
    return np.moveaxis(points, 3, 2).reshape(-1, points.shape[2]).astype(np.complex128)

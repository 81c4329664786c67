"""Heat maps of joints: where each one is, as pictures that networks of pictures read."""

from __future__ import annotations

import numpy as np

from vlar.errors import UsageError
from vlar.types import Float32, Float64


def heatmaps(points: Float64 | Float32, size: tuple[int, int], sigma: float) -> Float32:
    """A Gaussian around each joint, with the peak 1 at the pixel whose middle is nearest.

    Args:
        points: (T, V, 2) x and y in shares (0 to 1) of the picture; NaN where a joint is not seen.
        size: (H, W) in pixels.
        sigma: Standard deviation in pixels, above 0.

    Returns:
        (T, V, H, W) float32; zeros where a joint is not seen.

    Raises:
        UsageError: the shape, the size or the deviation is unusable.
    """
    positions = np.asarray(points, np.float64)
    if positions.ndim != 3 or positions.shape[2] != 2:
        raise UsageError(f"points have the shape {positions.shape}; give (T, V, 2)")
    if min(size) < 1 or not 0 < sigma < np.inf:
        raise UsageError(f"the size {size} and sigma {sigma:g} must be above 0")
    limits = np.array([size[1], size[0]])
    visible = np.asarray(np.isfinite(positions).all(axis=2), np.bool_)
    # A Gaussian of two coordinates is the product of one of each, so the exponentials are few.
    pixel = np.floor(np.where(visible[..., None], positions, 0.0) * limits).clip(0, limits - 1)
    rows, columns = (
        np.exp(-0.5 * np.square((np.arange(length) - pixel[..., axis, None]) / sigma))
        for axis, length in ((1, size[0]), (0, size[1]))
    )
    rows = rows * visible[..., None]
    return (rows[..., :, None] * columns[..., None, :]).astype(np.float32)

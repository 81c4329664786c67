"""Ridge regression from clips, solved at once in the space of the clips.

Letters: n clips, d entries of a clip, k entries of a target, C labels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlar.types import Float64


def ridge_map(x: Float64, z: Float64, weights: Float64, penalty: float) -> Float64:
    """(k, d) of the weighted ridge regression, solved in the space of the n clips.

    Args:
        x: (n, d), centred.
        z: (n, k), centred.
        weights: (n,) with sum 1.
        penalty: Above 0, in mean squared lengths of ``x``.
    """
    root = np.sqrt(weights)[:, None]
    a, b = root * x, root * z
    gram = a @ a.T
    amount = penalty * max(float(np.trace(gram)), 1e-12) / len(x)
    return np.linalg.solve(gram + amount * np.eye(len(x)), b).T @ a


def balanced_weights(columns: npt.NDArray[np.int64], n_labels: int) -> Float64:
    """(n,) weights with sum 1, every label weighing the same."""
    counts = np.bincount(columns, minlength=n_labels)
    weights = 1.0 / counts[columns]
    return weights / weights.sum()

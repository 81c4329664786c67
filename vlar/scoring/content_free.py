"""Content-free rows: recognised by the encoder's own vectors of blank and noise clips."""

from __future__ import annotations

import math

import numpy as np

from vlar.numeric import sigmoid
from vlar.types import Float32, Float64

_STEEPNESS = 4.0  # logit at the reference's own neighbourhood: 0.98 of the mass moves


class ContentFree:
    """Recognises rows that show nothing (blank, noise) by their nearness to such clips.

    A row that lies as near to a reference as the references lie to each other is treated as
    content-free: half of its mass moves at the median cosine between two references. That cosine
    comes from the encoder itself, so it suits every space.

    Args:
        references: (M, D) float32 unit vectors of content-free clips; fewer than 3 disable the
            check.
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
        return sigmoid(self._slope * (nearness - self._middle))

"""How likely a window shows what an example clip shows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlar.types import Float64


def like_probability(similarity: npt.NDArray[np.floating]) -> Float64:
    """(N,) probability from (N,) cosines of windows with the example."""
    values = similarity.astype(np.float64)
    middle = np.median(values)
    spread = 1.4826 * float(np.median(np.abs(values - middle))) + 1e-6
    return 0.5 * (1.0 + np.tanh(0.5 * ((values - middle) / spread - 3.0)))

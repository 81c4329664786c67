"""How a window stands out in a library: what ranks a query with operators.

Probabilities against everyday actions differ in height from phrase to phrase: the best window of
one has 0.9, of another 0.1, and a product or a complement is then decided by one of the two. So
operators work on how far a window stands out among the windows searched::

    p(i) = 1 / (1 + exp(-(z(i) - 1.5))),   z(i) = (s(i) - mean s) / std s

with cosines ``s`` of the windows with the phrase, or with the clip of a LIKE. The middle of 1.5
was chosen on half of a made library (evals/README.md). Where fewer than 32 windows are searched the
mean and the spread say little, and the probability against everyday actions is used instead.
"""

from __future__ import annotations

import numpy as np

from vlar.types import Float64

_MIDDLE = 1.5
_FEWEST_WINDOWS = 32
_LEAST_SPREAD = 1e-6


def stands_out(similarity: Float64, probability: Float64 | None) -> Float64:
    """(N,) how surely each window stands out.

    Args:
        similarity: (N,) cosines.
        probability: (N,) against everyday actions; None for a clip, which has no such background.
    """
    if len(similarity) < _FEWEST_WINDOWS:
        return similarity.clip(0.0, 1.0) if probability is None else probability
    spread = max(float(similarity.std()), _LEAST_SPREAD)
    return 0.5 * (1.0 + np.tanh(0.5 * ((similarity - similarity.mean()) / spread - _MIDDLE)))

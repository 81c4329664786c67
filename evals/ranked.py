"""Average precision as the scripts read a ranking: equal scores keep the order of the rows.

``vlar.evaluation`` lets rows of equal score share a rank. A bootstrap draws a clip several times,
so this matters to intervals; figures of different clips are the same. It also takes a tenth of the
time, which matters to a hundred thousand resampled rankings.
"""

from __future__ import annotations

import numpy as np


def average_precision(scores: np.ndarray, relevant: np.ndarray) -> float:
    """Mean of the precision at the rank of each relevant row (N,); at least one is relevant."""
    ordered = relevant[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(ordered) / np.arange(1, len(ordered) + 1))[ordered].mean())


def mean_average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean AP of (N, C) scores, over the labels that have a clip; ``truth`` holds their columns."""
    return float(np.mean([average_precision(scores[:, c], truth == c) for c in np.unique(truth)]))

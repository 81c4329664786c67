"""Measures of a window that stands out: among all windows, or in its own recording."""

from __future__ import annotations

import numpy as np

from vlar.discovery.neighbours import nearest_rows
from vlar.index.rows import Int64
from vlar.types import Float32, Float64

NEIGHBOURS = 5
_FEWEST_WINDOWS = 4  # of a recording in which a window can stand out
_LEAST_SPREAD = 0.01  # of cosines: below it, all windows of a recording show the same


def distances(
    vectors: Float32,
    owners: Int64,
    reference: Float32,
    reference_owners: Int64,
    k: int = NEIGHBOURS,
) -> tuple[Float64, Int64]:
    """(N,) mean cosine distance, 0 to 2, to the ``k`` nearest rows, and the nearest row (N,).

    Rows of the same recording are not compared. The nearest row is -1 where there is none.
    """
    cosines, places = nearest_rows(vectors, owners, reference, reference_owners, k)
    known = places >= 0
    total = np.where(known, 1.0 - cosines, 0.0).sum(axis=1)
    count = known.sum(axis=1)
    mean = np.divide(total, count, out=np.full(len(total), 2.0), where=count > 0)
    return mean, places[:, 0]


def within(vectors: Float32, starts_s: Float64, ends_s: Float64) -> Float64:
    """(N,) how far each window of one recording lies from the others, in robust deviations.

    A window is compared with the mean of those that share no time with it. The distances are
    centred by their median and scaled by 1.4826 times their median absolute deviation. Zeros where
    there are fewer than four windows.
    """
    n_windows = len(vectors)
    if n_windows < _FEWEST_WINDOWS:
        return np.zeros(n_windows)
    shared = (starts_s[:, None] < ends_s[None] - 1e-6) & (ends_s[:, None] > starts_s[None] + 1e-6)
    others = (~shared).astype(np.float32)
    sums = others @ vectors
    lengths = np.linalg.norm(sums, axis=1)
    cosines = np.einsum("nd,nd->n", sums, vectors) / np.maximum(lengths, 1e-6)
    distance = np.where(others.any(axis=1), 1.0 - cosines, np.nan).astype(np.float64)
    if np.isnan(distance).all():
        return np.zeros(n_windows)
    middle = np.nanmedian(distance)
    spread = max(1.4826 * float(np.nanmedian(np.abs(distance - middle))), _LEAST_SPREAD)
    return np.nan_to_num((distance - middle) / spread, nan=0.0)

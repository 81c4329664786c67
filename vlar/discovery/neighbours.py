"""Nearest rows of other recordings, by comparing all rows in blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vlar.index.rows import Float16, Int64, RowTable
from vlar.types import Float32, Float64

_BLOCK = 1024  # rows of each side that are compared at once
LARGEST_REFERENCE = 50_000
"""Rows that each row is compared with at most; of more, this many are drawn."""


def unit_rows(vectors: Float16 | Float32) -> Float32:
    """(N, D) float32 of unit length; blank rows stay 0."""
    wide = vectors.astype(np.float32)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.maximum(lengths, 1e-6)


def drawn(count: int, most: int = LARGEST_REFERENCE) -> Int64:
    """Places (M,) of at most ``most`` of ``count`` rows, always the same ones, in rising order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def nearest_rows(
    vectors: Float32, owners: Int64, reference: Float32, reference_owners: Int64, k: int
) -> tuple[Float64, Int64]:
    """The ``k`` rows of a reference that are most similar to each row, of other recordings.

    Args:
        vectors: (N, D) of unit length.
        owners: (N,) recordings.
        reference: (M, D) of unit length.
        reference_owners: (M,) recordings; rows of an equal owner are not compared.
        k: At least 1.

    Returns:
        Cosines (N, k), falling, and places (N, k) in the reference. Where fewer than ``k`` rows
        can be compared, the cosine is -1 and the place -1.
    """
    cosines = np.full((len(vectors), k), -1.0)
    places = np.full((len(vectors), k), -1, np.int64)
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        for first in range(0, len(reference), _BLOCK):
            columns = slice(first, first + _BLOCK)
            found = (vectors[rows] @ reference[columns].T).astype(np.float64)
            found[owners[rows, None] == reference_owners[None, columns]] = -1.0
            best = _largest(found, k)
            both = np.concatenate([cosines[rows], np.take_along_axis(found, best, axis=1)], axis=1)
            named = np.concatenate([places[rows], best + first], axis=1)
            order = np.argsort(-both, axis=1, kind="stable")[:, :k]
            cosines[rows] = np.take_along_axis(both, order, axis=1)
            places[rows] = np.take_along_axis(named, order, axis=1)
    places[cosines <= -1.0] = -1
    return cosines, places


def _largest(values: Float64, k: int) -> Int64:
    """Columns (N, k) of the greatest values of each row, in any order; all if there are fewer."""
    if values.shape[1] <= k:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    return np.argpartition(values, -k, axis=1)[:, -k:]


def similar_pairs(
    vectors: Float32, owners: Int64, least: float
) -> Iterator[tuple[Int64, Int64, Float32]]:
    """All pairs of rows of different recordings with a cosine of at least ``least``, in blocks.

    Yields:
        Places (P,) and (P,) of the two rows, the first smaller, and their cosines (P,).
    """
    for start in range(0, len(vectors), _BLOCK):
        for first in range(start, len(vectors), _BLOCK):
            found = vectors[start : start + _BLOCK] @ vectors[first : first + _BLOCK].T
            left, right = np.nonzero(found >= least)
            cosines = found[left, right]
            left, right = left + start, right + first
            kept = (left < right) & (owners[left] != owners[right])
            if kept.any():
                yield left[kept], right[kept], cosines[kept]


def apart(table: RowTable, order: Int64, k: int) -> list[int]:
    """The first ``k`` places of an order that share less than half of their time with earlier ones.

    Args:
        table: N windows.
        order: Places, best first.
        k: Greatest number of places.
    """
    chosen: list[int] = []
    by_video: dict[int, list[tuple[float, float]]] = {}
    for place in order.tolist():
        start_s, end_s = float(table.starts_s[place]), float(table.ends_s[place])
        earlier = by_video.setdefault(int(table.video_ids[place]), [])
        length_s = max(end_s - start_s, 1e-9)
        if any(min(end_s, e) - max(start_s, s) >= 0.5 * length_s for s, e in earlier):
            continue
        earlier.append((start_s, end_s))
        chosen.append(place)
        if len(chosen) == k:
            break
    return chosen

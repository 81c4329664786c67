"""The order in which a person should look at clips: those that teach most come first.

A clip teaches much where the model is unsure, and little where a similar clip was just labelled.
The order is greedy: the next clip has the greatest product of its uncertainty and its distance to
the nearest clip before it (farthest-first traversal, Gonzalez 1985, weighted by uncertainty).
"""

from __future__ import annotations

import numpy as np

from vlar.errors import UsageError
from vlar.types import Float32, Float64

MEASURES = ("margin", "entropy")
_LEAST = 1e-6  # of a factor: no clip is ever left out


def uncertainty(probability: Float64, measure: str = "margin") -> Float64:
    """How unsure each answer is, 0 to 1.

    Args:
        probability: (N, C) of C labels, each row summing to at most 1.
        measure: ``margin``: 1 minus the difference of the two most probable labels. ``entropy``:
            the entropy of the labels, divided by its greatest value.

    Returns:
        (N,) float64.

    Raises:
        UsageError: no measure has this name.
    """
    if measure not in MEASURES:
        raise UsageError(f"measure {measure!r} is none of {', '.join(MEASURES)}")
    if probability.shape[1] < 2:
        return 1.0 - np.abs(2.0 * probability[:, 0] - 1.0)
    shares = probability / np.maximum(probability.sum(axis=1, keepdims=True), 1e-12)
    if measure == "margin":
        best = -np.partition(-shares, 1, axis=1)[:, :2]
        return 1.0 - (best[:, 0] - best[:, 1])
    logs = np.log(np.maximum(shares, 1e-12))
    return -(shares * logs).sum(axis=1) / np.log(probability.shape[1])


def review_order(
    unsure: Float64, vectors: Float32, k: int, known: Float32 | None = None
) -> list[int]:
    """The first ``k`` clips to look at.

    Args:
        unsure: (N,) 0 to 1.
        vectors: (N, D) of unit length.
        k: At most N are given.
        known: (M, D) vectors of clips whose labels are known already; None for none.

    Returns:
        Places, the most instructive first.
    """
    weight = np.maximum(unsure.astype(np.float64), _LEAST)
    distance = np.ones(len(vectors))
    if known is not None and len(known):
        distance = 1.0 - (vectors @ known.T).max(axis=1).astype(np.float64)
    waiting = np.ones(len(vectors), np.bool_)
    chosen: list[int] = []
    for _ in range(min(k, len(vectors))):
        value = np.where(waiting, weight * np.maximum(distance, _LEAST), -1.0)
        best = int(value.argmax())
        chosen.append(best)
        waiting[best] = False
        distance = np.minimum(distance, 1.0 - vectors @ vectors[best])
    return chosen

"""Temperature by likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from vlar.errors import UsageError


def fit_temperature(
    scores: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    *,
    lowest: float = 0.1,
    highest: float = 1000.0,
) -> float:
    """The factor of the scores that makes their softmax fit best (negative log-likelihood).

    The likelihood is convex in the factor, so a bounded scalar search finds it.

    Args:
        scores: (n, C) cosines or logits.
        labels: (n,) index of the right label.
        lowest: Smallest factor tried.
        highest: Largest factor tried.

    Returns:
        The factor: a new ``logit_scale`` for cosines, 1 / temperature for logits.

    Raises:
        UsageError: no row, or the shapes do not agree.
    """
    if scores.ndim != 2 or len(scores) == 0 or len(scores) != len(labels):
        raise UsageError(
            f"calibration needs (n, C) scores and n labels; got {scores.shape} and {labels.shape}"
        )
    values = scores.astype(np.float64)
    right = values[np.arange(len(values)), labels]

    def loss(log_factor: float) -> float:
        logits = math.exp(log_factor) * values
        top = logits.max(axis=1)
        total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
        return float((total - math.exp(log_factor) * right).mean())

    return math.exp(_golden_section(loss, math.log(lowest), math.log(highest)))


def _golden_section(loss: Callable[[float], float], low: float, high: float) -> float:
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > 1e-4:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return (low + high) / 2.0

"""A logistic curve through two kinds of values, fitted by likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from vlar.errors import UsageError
from vlar.types import Float64

_STEPS = 200
_RIDGE = 1e-3
_FLATTEST = 1e-3  # slope, in spreads of the values: the curve never falls


def fit_logistic(yes: Float64, no: Float64, *, share: float = 0.5) -> tuple[float, float]:
    """Centre and slope of ``1 / (1 + exp(-slope * (value - centre)))``.

    Newton's method on standardised values; the ridge keeps the curve finite where the two kinds do
    not overlap.

    Args:
        yes: (n,) values of which the curve should be 1.
        no: (m,) values of which it should be 0.
        share: What all ``yes`` together weigh; the rest is the weight of all ``no``.
    """
    values = np.concatenate([yes, no])
    target = np.concatenate([np.ones(len(yes)), np.zeros(len(no))])
    weight = np.where(target == 1, share / len(yes), (1 - share) / len(no))
    mean, spread = float(values.mean()), float(values.std()) or 1e-3
    standard, nothing = (values - mean) / spread, np.zeros(2)
    beta = _most_likely(standard, target, weight, np.array([1.0, 0.0]), nothing, _RIDGE)
    slope = max(float(beta[0]), _FLATTEST)
    return mean - spread * float(beta[1]) / slope, slope / spread


def refit_logistic(
    values: Float64, right: npt.NDArray[np.bool_], *, doubt: float
) -> tuple[float, float]:
    """Centre and slope of the curve by which log odds come true; few cases change them little.

    Args:
        values: (n,) log odds as stated.
        right: (n,) whether what was stated came true.
        doubt: How strongly the curve is held to the log odds as they are (centre 0, slope 1): the
            precision of a normal prior on slope and offset.
    """
    identity = np.array([1.0, 0.0])
    target = right.astype(np.float64)
    beta = _most_likely(values, target, np.ones(len(values)), identity, identity, doubt)
    slope = max(float(beta[0]), 1e-3)
    return -float(beta[1]) / slope, slope


def _most_likely(
    values: Float64, target: Float64, weight: Float64, start: Float64, prior: Float64, ridge: float
) -> Float64:
    """Slope and offset by Newton's method, with a ridge towards ``prior``."""
    inputs = np.stack([values, np.ones_like(values)], axis=1)
    beta = start.copy()
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(inputs @ beta, -40, 40)))
        gradient = inputs.T @ (weight * (p - target)) + ridge * (beta - prior)
        curvature = weight * p * (1 - p)
        hessian = (inputs * curvature[:, None]).T @ inputs + ridge * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        beta -= np.clip(step, -1, 1)
        if float(np.abs(step).max()) < 1e-9:
            break
    return beta


def logistic(values: npt.NDArray[np.floating], centre: float, slope: float) -> Float64:
    """``1 / (1 + exp(-slope * (value - centre)))``, without overflow."""
    return 1.0 / (1.0 + np.exp(-np.clip(slope * (values - centre), -40, 40)))


def logit(probability: npt.NDArray[np.floating]) -> Float64:
    """Log odds; probabilities nearer to 0 or 1 than 1e-9 count as that near."""
    inside = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.log(inside) - np.log1p(-inside)


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
    lower, right = high - ratio * (high - low), low + ratio * (high - low)
    loss_low, loss_high = loss(lower), loss(right)
    while high - low > 1e-4:
        if loss_low <= loss_high:
            high, right, loss_high = right, lower, loss_low
            lower = high - ratio * (high - low)
            loss_low = loss(lower)
        else:
            low, lower, loss_low = lower, right, loss_high
            right = low + ratio * (high - low)
            loss_high = loss(right)
    return (low + high) / 2.0

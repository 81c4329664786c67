"""A logistic curve through two kinds of values, fitted by likelihood."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlar.types import Float64

_STEPS = 200
_RIDGE = 1e-3


def fit_logistic(
    yes: Float64, no: Float64, *, share: float = 0.5, flattest: float = 1e-3
) -> tuple[float, float]:
    """Centre and slope of ``1 / (1 + exp(-slope * (value - centre)))``.

    Newton's method on standardised values; the ridge keeps the curve finite where the two kinds do
    not overlap.

    Args:
        yes: (n,) values of which the curve should be 1.
        no: (m,) values of which it should be 0.
        share: What all ``yes`` together weigh; the rest is the weight of all ``no``.
        flattest: The smallest slope, in spreads of the values: the curve never falls.
    """
    values = np.concatenate([yes, no])
    target = np.concatenate([np.ones(len(yes)), np.zeros(len(no))])
    weight = np.where(target == 1, share / len(yes), (1 - share) / len(no))
    mean, spread = float(values.mean()), float(values.std()) or 1e-3
    inputs = np.stack([(values - mean) / spread, np.ones_like(values)], axis=1)
    beta = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(inputs @ beta, -40, 40)))
        gradient = inputs.T @ (weight * (p - target)) + _RIDGE * beta
        curvature = weight * p * (1 - p)
        hessian = (inputs * curvature[:, None]).T @ inputs + _RIDGE * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        beta -= np.clip(step, -1, 1)
        if float(np.abs(step).max()) < 1e-9:
            break
    slope = max(float(beta[0]), flattest)
    return mean - spread * float(beta[1]) / slope, slope / spread


def logistic(values: npt.NDArray[np.floating], centre: float, slope: float) -> Float64:
    """``1 / (1 + exp(-slope * (value - centre)))``, without overflow."""
    return 1.0 / (1.0 + np.exp(-np.clip(slope * (values - centre), -40, 40)))


def logit(probability: npt.NDArray[np.floating]) -> Float64:
    """Log odds; probabilities nearer to 0 or 1 than 1e-9 count as that near."""
    inside = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.log(inside) - np.log1p(-inside)

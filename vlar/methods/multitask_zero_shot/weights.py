"""Weights of training clips for the labels, or the clips, that are asked about.

KLIEP (Sugiyama et al., "Direct importance estimation with model selection and its application to
covariate shift adaptation", 2007): the weights turn the distribution of the source into one that
is nearest to the target's in the Kullback-Leibler divergence.
"""

from __future__ import annotations

import numpy as np

from vlar.errors import ModelError
from vlar.methods.multitask_zero_shot.map import Array
from vlar.types import Float64

_CENTRES = 200
_STEPS = 2000
_RATES = 10.0 ** np.arange(2, -5, -1)
_SETTLED = 1e-9


def kliep(source: Array, target: Array) -> Float64:
    """(n,) weights of a source, with mean 1: what counts more in the target has more.

    ``w(x) = sum_b alpha_b kappa(x, x_b)`` with Gaussian kernels on target items, as wide as the
    median distance. ``alpha`` maximises the mean of ``log w`` over the target under mean ``w`` = 1
    over the source: a concave problem, by projected gradient steps of falling size.

    Args:
        source: (n, d) items to weigh.
        target: (m, d) items they should resemble; with more than 200, evenly taken ones are the
            centres of the kernels.

    Raises:
        ModelError: one of them is empty, widths differ, or a number is not finite.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    _check(source, target)
    places = np.linspace(0, len(target) - 1, min(_CENTRES, len(target))).round().astype(int)
    centres = target[places]
    apart = [_squared(rows, centres) for rows in (source, target)]
    width = float(np.median(np.concatenate(apart)))
    if width <= 0:  # all items are the same
        return np.ones(len(source))
    at_source, at_target = (np.exp(-rows / (2 * width)) for rows in apart)
    mean = at_source.mean(axis=0)
    alpha = _projected(np.ones(len(centres)), mean)
    value = _gain(at_target, alpha)
    for rate in _RATES:
        for _ in range(_STEPS):
            step = at_target.T @ (1 / np.maximum(at_target @ alpha, 1e-300)) / len(target)
            tried = _projected(alpha + rate * step, mean)
            gain = _gain(at_target, tried)
            if gain <= value + _SETTLED * abs(value):
                break
            alpha, value = tried, gain
    weights = at_source @ alpha
    return weights / weights.mean()


def effective_size(weights: Array) -> float:
    """``(sum w)^2 / sum w^2``: how many equally weighted items these weights are worth."""
    return float(np.square(weights.sum()) / np.maximum(np.square(weights).sum(), 1e-300))


def bounded(weights: Array, share: float = 0.1) -> Float64:
    """(n,) the weights with mean 1, cut at the top until the effective size is ``share * n``.

    Args:
        weights: (n,), at least 0.
        share: 0 to 1, of the items.
    """
    limited = np.asarray(weights, np.float64)
    low, high = 0.0, float(limited.max())
    if effective_size(limited) < share * len(limited):
        for _ in range(60):
            top = (low + high) / 2
            enough = effective_size(np.minimum(limited, top)) >= share * len(limited)
            low, high = (top, high) if enough else (low, top)
        # Below the smallest weight above 0 all of these weigh alike: the most there is to reach.
        limited = np.minimum(limited, max(low, float(limited[limited > 0].min())))
    return limited / limited.mean()


def _projected(alpha: Float64, mean: Float64) -> Float64:
    """The nearest coefficients with mean weight 1, none below 0."""
    alpha = alpha + (1 - mean @ alpha) * mean / (mean @ mean)
    alpha = np.maximum(alpha, 0)
    total = float(mean @ alpha)
    return alpha / total if total > 0 else np.full(len(alpha), 1 / float(mean.sum()))


def _gain(at_target: Float64, alpha: Float64) -> float:
    return float(np.log(np.maximum(at_target @ alpha, 1e-300)).mean())


def _squared(a: Float64, b: Float64) -> Float64:
    """(n, m) squared distances."""
    squared = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    return np.maximum(squared, 0)


def _check(source: Float64, target: Float64) -> None:
    if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1]:
        raise ModelError(
            f"importance weights compare (n, d) with (m, d) items, got {source.shape} and "
            f"{target.shape}"
        )
    if not len(source) or not len(target):
        raise ModelError(
            f"importance weights need items on both sides, got {len(source)} and {len(target)}"
        )
    if not np.isfinite(source).all() or not np.isfinite(target).all():
        raise ModelError("importance weights got a number that is not finite; leave that item out")

"""Losses that methods for other domains share.

Letters: N clips, C labels, F features.
"""

from __future__ import annotations

import math

from torch import Tensor

_SMALLEST = 1e-12  # variance that is added, so that a constant feature has a gradient


def info_max(logits: Tensor) -> Tensor:
    """Mean entropy of the answers less the entropy of the mean answer.

    Information maximisation (Liang et al. 2020, SHOT, section 3.2): each clip is sure, and the
    clips together show all labels.

    Args:
        logits: (N, C).

    Returns:
        A scalar from ``-ln C`` to 0.
    """
    each = logits.log_softmax(dim=1)
    together = each.logsumexp(dim=0) - math.log(len(each))
    return (together.exp() * together).sum() - (each.exp() * each).sum(dim=1).mean()


def barlow(a: Tensor, b: Tensor, *, weight: float = 3.9e-3) -> Tensor:
    """Distance of the cross-correlation of two views from the identity (Zbontar et al. 2021).

    ``.5 (sum_i (C_ii - 1)^2 + weight sum_{i != j} C_ij^2)``. Both views are standardised over the
    batch; else the diagonal depends on the scale of the features.

    Args:
        a: (N, F) of one view.
        b: (N, F) of the other.
        weight: Factor on the entries off the diagonal.
    """
    first, second = (
        (x - x.mean(dim=0)) * (x.var(dim=0, correction=0) + _SMALLEST).rsqrt() for x in (a, b)
    )
    c = first.T @ second / len(a)
    diagonal = c.diagonal()
    rest = c.square().sum() - diagonal.square().sum()
    return 0.5 * ((diagonal - 1).square().sum() + weight * rest)


def kl_gaussian(
    mean: Tensor, log_variance: Tensor, mean_q: Tensor, log_variance_q: Tensor
) -> Tensor:
    """Kullback-Leibler divergence of normal distributions with diagonal covariance.

    Args:
        mean: (..., F) of the first distribution.
        log_variance: Its logarithm of the variance, alike.
        mean_q: (..., F) of the second distribution.
        log_variance_q: Its logarithm of the variance, alike.

    Returns:
        The sum over features, the mean over rows.
    """
    apart = ((mean - mean_q).square() + log_variance.exp()) / log_variance_q.exp()
    return 0.5 * (log_variance_q - log_variance + apart - 1).sum(dim=-1).mean()

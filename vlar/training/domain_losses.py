"""Losses, and the reversed gradient, that methods for other domains share.

Letters: N clips, C labels, F features.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_SMALLEST = 1e-12  # variance that is added, so that a constant feature has a gradient


def info_max(logits: Tensor) -> Tensor:
    """Mean entropy of the answers less that of the mean answer: -ln C to 0, from logits (N, C).

    Liang et al. 2020 (SHOT), section 3.2: each clip is sure, and all labels are shown.
    """
    log_shares = logits.log_softmax(dim=1)
    together = log_shares.logsumexp(dim=0) - math.log(len(log_shares))
    return (together.exp() * together).sum() - (log_shares.exp() * log_shares).sum(dim=1).mean()


def barlow(a: Tensor, b: Tensor, *, weight: float = 3.9e-3) -> Tensor:
    """Distance of the cross-correlation of two views (N, F) from the identity.

    ``.5 (sum_i (C_ii - 1)^2 + weight sum_{i != j} C_ij^2)`` (Zbontar et al. 2021). Both views are
    standardised over the batch; else the diagonal depends on the scale of the features.
    """
    first, second = (
        (x - x.mean(dim=0)) * (x.var(dim=0, correction=0) + _SMALLEST).rsqrt() for x in (a, b)
    )
    c = first.T @ second / len(a)
    diagonal = c.diagonal()
    off_diagonal = c.square().sum() - diagonal.square().sum()
    return 0.5 * ((diagonal - 1).square().sum() + weight * off_diagonal)


def kl_gaussian(
    mean: Tensor, log_variance: Tensor, mean_q: Tensor, log_variance_q: Tensor
) -> Tensor:
    """Divergence of normal distributions (..., F) with diagonal covariance from others (q).

    Kullback-Leibler; the sum over features, the mean over rows.
    """
    apart = ((mean - mean_q).square() + log_variance.exp()) / log_variance_q.exp()
    return 0.5 * (log_variance_q - log_variance + apart - 1).sum(dim=-1).mean()


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse(x: Tensor, strength: float) -> Tensor:
    """The same values; the gradient is multiplied by ``-strength`` (SOAR, equation 17).

    Args:
        x: Any shape.
        strength: At least 0; 0 stops the gradient.
    """
    return _Reverse.apply(x, strength)


def ramp(progress: float, *, steepness: float = 10.0) -> float:
    """Rise from 0 at the start to nearly 1 at the end: ``2
    (1 + exp(-steepness p)) - 1``.

    The schedule of SOAR, section 5.2: an untrained predictor gives noise.

    Args:
        progress: Share of the training that is over, 0 to 1.
        steepness: Steepness of the rise, above 0.
    """
    return 2 / (1 + math.exp(-steepness * progress)) - 1

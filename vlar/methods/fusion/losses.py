"""Losses between sensors: contrast, prototypes of one for queries of another, hidden patches.

Letters: N clips, C labels, K examples of each, Q queries, D width, P numbers of a patch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.errors import UsageError


def info_nce(a: Tensor, b: Tensor, temperature: float = 0.07) -> Tensor:
    """Symmetric contrast of two sensors: row i of one belongs to row i of the other.

    The mean over both directions of ``-log exp(a_i.b_i / t) / sum_j exp(a_i.b_j / t)`` with
    vectors of unit length (MMG-Ego4D; van den Oord et al. 2018).

    Args:
        a: (N, D); lengths do not matter.
        b: (N, D).
        temperature: t, above 0.

    Raises:
        UsageError: the shapes differ, or the temperature is not above 0.
    """
    if a.shape != b.shape or not temperature > 0:
        raise UsageError(
            f"vectors {tuple(a.shape)} and {tuple(b.shape)} at temperature {temperature}; give one "
            "row a clip of each sensor, and a temperature above 0"
        )
    logits = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature
    numbers = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(logits, numbers) + F.cross_entropy(logits.T, numbers)) / 2


def cross_prototypes(supports: Tensor, queries: Tensor, y: Tensor) -> Tensor:
    """Prototypes of one sensor name the queries of another (MMG-Ego4D, after Snell et al. 2017).

    Cross-entropy of ``-||q - mean_k s_k||²`` over the labels.

    Args:
        supports: (C, K, D) of one sensor.
        queries: (Q, D) of the same sensor or another.
        y: (Q,) int64, the label of each query.
    """
    away = (queries[:, None] - supports.mean(dim=1)[None]).square().sum(dim=-1)
    return F.cross_entropy(-away, y)


def masked_error(prediction: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
    """Mean squared error over hidden patches alone (masked autoencoders, He et al. 2022).

    The target is each patch at mean 0 and variance 1 (variance + 1e-6), without gradient.

    Args:
        prediction: (..., P).
        target: (..., P).
        hidden: (...) bool.

    Returns:
        A scalar; 0 where nothing is hidden.
    """
    mean = target.mean(dim=-1, keepdim=True)
    spread = (target.var(dim=-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    error = (prediction - ((target - mean) / spread).detach()).square().mean(dim=-1)
    return error[hidden].mean() if bool(hidden.any()) else prediction.sum() * 0.0

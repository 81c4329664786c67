"""Losses of logits against labels: one label, several at once, or a label in parts.

Letters: N clips, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the softmax against target shares.

    Args:
        logits: (N, C).
        targets: (N, C) shares; a row sums to 1. One-hot, smoothed or mixed.

    >>> import torch
    >>> float(soft_cross_entropy(torch.zeros(1, 4), torch.tensor([[1.0, 0, 0, 0]]))) # ln 4
    1.3862943649291992
    """
    return F.cross_entropy(logits, targets.to(logits))


def shared_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy against the labels of a clip at equal shares (Mahajan et al. 2018).

    It suits logits that only compare labels with each other, as scaled cosines do.

    Args:
        logits: (N, C).
        targets: (N, C) from 0 to 1, 1 where a clip shows the label. A row without any label
            counts as 0.
    """
    targets = targets.to(logits)
    shares = targets / targets.sum(dim=-1, keepdim=True).clamp_min(1e-12)
    return F.cross_entropy(logits, shares)


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over all labels of the cross-entropy of each label's own sigmoid.

    It needs logits with a meaning of their own: above 0 where the label is more likely than not.

    Args:
        logits: (N, C).
        targets: (N, C) from 0 to 1.
    """
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits))


def part_cross_entropy(logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """Mean over the parts of a label (verb, object) of the part's own cross-entropy.

    Args:
        logits: (N, C_part) by part.
        targets: (N, C_part) shares by part, for at least one part of ``logits``.
    """
    terms = [soft_cross_entropy(logits[part], targets[part]) for part in logits if part in targets]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total / len(terms)

"""Evidence: a Dirichlet distribution over the probabilities of labels, instead of one of them.

Letters: N clips, C labels. Source: Bao et al., "Evidential deep learning for open set action
recognition" (DEAR), 2021.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_LARGEST = 10.0  # of a logit before exp
_FIRST_WEIGHT = 0.01
_SMALLEST = 1e-10


def evidence(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Dirichlet parameters, expected probabilities and vacuity.

    Args:
        logits: (N, C).

    Returns:
        ``alpha = exp(clip(logits, -10, 10)) + 1`` (N, C), ``alpha / S`` (N, C) and the vacuity
        ``C / S`` (N,) in (0, 1], with S the sum of alpha.
    """
    alpha = logits.clamp(-_LARGEST, _LARGEST).exp() + 1.0
    total = alpha.sum(dim=-1, keepdim=True)
    return alpha, alpha / total, logits.shape[-1] / total[..., 0]


class EvidenceScale(nn.Module):
    """A learned factor and offset from logits to evidence.

    ``exp`` of logits with a scale such as CLIP's 100 says nothing: all are clipped.

    Args:
        logit_scale: Factor from cosine to logit; a cosine of 1 starts as the largest evidence.
    """

    def __init__(self, logit_scale: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(math.log(_LARGEST / logit_scale)))
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, logits: Tensor) -> Tensor:
        """(N, C) to (N, C)."""
        return self.factor.exp() * logits + self.offset


def edl_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over clips of ``sum_k y_k (log S - log alpha_k)``; equation 4 of the source.

    Args:
        logits: (N, C).
        targets: (N, C) shares of the labels; a row sums to 1.
    """
    alpha, _, _ = evidence(logits)
    losses = targets.to(alpha) * (alpha.sum(dim=-1, keepdim=True).log() - alpha.log())
    return losses.sum(dim=-1).mean()


def avu_weight(step: float, total: float) -> float:
    """Weight of right clips in ``avu_loss``: .01 at the start, 1 at the end, exponential between.

    Args:
        step: Steps or epochs that are over.
        total: Of the training, above 0.
    """
    return _FIRST_WEIGHT * math.exp(-math.log(_FIRST_WEIGHT) * step / total)


def avu_loss(logits: Tensor, y: Tensor, *, weight: float) -> Tensor:
    """Accuracy versus uncertainty: right clips should be sure, wrong ones unsure; equation 7.

    ``-weight * a * p * log(1 - u) - (1 - weight) * (1 - a) * (1 - p) * log u``, the mean over
    clips, with a = 1 where the best label is right, p its probability, u the vacuity.

    Args:
        logits: (N, C).
        y: (N,) int64 labels.
        weight: ``avu_weight``, 0 to 1.
    """
    _, probability, vacuity = evidence(logits)
    best, answer = probability.max(dim=-1)
    right = (answer == y).to(best)
    sure = (1.0 - vacuity).clamp_min(_SMALLEST).log()
    unsure = vacuity.clamp_min(_SMALLEST).log()
    losses = -weight * right * best * sure - (1 - weight) * (1 - right) * (1 - best) * unsure
    return losses.mean()

"""Contrastive losses over the clips of a batch.

Letters: N clips, C labels.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name


def agreement(targets: Tensor) -> Tensor:
    """How far the labels of any two clips agree: the cosine of their shares.

    With one-hot shares 1 for the same label, else 0; a clip always agrees with itself, also where
    its labels are smoothed or mixed.

    Args:
        targets: (N, C) shares.

    Returns:
        (N, N) float32, 0 to 1.
    """
    shares = F.normalize(targets.float(), dim=-1)
    return shares @ shares.T


def softened_contrastive(logits: Tensor, agree: Tensor, sharpness: float) -> tuple[Tensor, Tensor]:
    """Kullback-Leibler divergence from the softened agreement (EZ-CLIP, arXiv 2312.08010).

    Args:
        logits: (N, N), scaled cosines of clips and of the texts of their labels.
        agree: (N, N), from ``agreement``.
        sharpness: Factor on the agreement before the softmax that makes the target of it.

    Returns:
        The divergence from clips to texts, and from texts to clips.
    """
    target = (sharpness * agree).softmax(dim=-1)

    def divergence(found: Tensor) -> Tensor:
        return F.kl_div(found.log_softmax(dim=-1), target, reduction="batchmean")

    return divergence(logits), divergence(logits.T)

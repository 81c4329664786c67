"""The contrastive loss of body parts and their descriptions (GAP).

Xiang et al., "Generative action description prompts for skeleton-based action recognition", ICCV
2023. Letters: P parts, B clips, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.errors import UsageError


def part_contrastive(
    visual: Tensor, text: Tensor, labels: Tensor, scale: Tensor, *, sharpness: float = 10.0
) -> Tensor:
    """How far the vectors of each part are from the texts of their own labels.

    Clips and texts are compared in both directions. The target of a clip is a softmax over the
    texts of the batch, in which those of its own label have ``sharpness`` and the others 0, so
    clips of one label get equal targets. The loss is the Kullback-Leibler divergence from these
    targets, the mean of both directions, summed over texts and averaged over clips.

    Args:
        visual: (P, B, D) vectors of the clips, scaled to length 1 here.
        text: (P, B, D) vectors of each clip's label text, scaled to length 1 here.
        labels: (B,) integers; equal numbers are equal labels.
        scale: (P,) factor from cosine to logit; as it is, not its exponential.
        sharpness: Logit of the texts of a clip's own label in the target, above 0.

    Returns:
        (P,) the loss of each part; 0 for a batch of one clip. The caller takes the mean.

    Raises:
        UsageError: shapes that do not fit.
    """
    if visual.shape != text.shape or visual.ndim != 3:
        raise UsageError(
            f"vectors of shape {tuple(visual.shape)} and texts of shape {tuple(text.shape)}; give "
            "(P, B, D) of both"
        )
    if labels.shape != visual.shape[1:2] or scale.shape != visual.shape[:1]:
        raise UsageError(
            f"{tuple(labels.shape)} labels and {tuple(scale.shape)} scales for vectors of shape "
            f"{tuple(visual.shape)}; give (B,) and (P,)"
        )
    cosine = F.normalize(visual, dim=-1) @ F.normalize(text, dim=-1).transpose(1, 2)
    logits = scale[:, None, None] * cosine
    same = (labels[:, None] == labels[None]).to(logits.dtype)
    target = torch.softmax(sharpness * same, dim=-1).expand_as(logits)
    both = _divergence(target, logits) + _divergence(target, logits.transpose(1, 2))
    return both / 2


def _divergence(target: Tensor, logits: Tensor) -> Tensor:
    """(P,) mean over rows of KL(target || softmax of logits)."""
    return (target * (target.log() - logits.log_softmax(dim=-1))).sum(dim=-1).mean(dim=-1)

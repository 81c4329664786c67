"""Agreement of two views of the same unlabelled clips.

Letters: N clips, C labels.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name


def pseudo_label_loss(
    weak: Tensor, strong: Tensor, *, threshold: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the strong view against confident labels of the weak one (FixMatch).

    ``mean over clips of [max softmax(weak) >= threshold] * CE(strong, argmax weak)``; equation 4
    of Sohn et al. 2020, arXiv 2001.07685. The mean counts every clip, so the loss is small while
    few clips are confident. No gradient reaches ``weak``.

    Args:
        weak: (N, C) logits.
        strong: (N, C) logits of the same clips.
        threshold: Least probability of a label that counts, 0 to 1.

    Returns:
        The loss, and the (N,) bool mask of the clips that count.
    """
    if not len(weak):
        return strong.sum() * 0.0, weak.new_zeros(0).bool()
    confidence, label = weak.detach().softmax(dim=-1).max(dim=-1)
    counts = confidence >= threshold
    losses = F.cross_entropy(strong, label, reduction="none")
    return (losses * counts).mean(), counts

"""Losses between clips and bags of texts, of which some fit and some do not.

Letters: B clips and as many bags, M texts in a bag.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vlar.errors import UsageError


def mil_nce(
    logits: Tensor, bag_size: int, labels: Tensor | None = None, *, both_ways: bool = False
) -> Tensor:
    """Multiple-instance contrast of clips with bags, as MAXI uses it (Lin et al., ICCV 2023).

    ``b_ij``, the share of bag j among all texts for clip i, is a sum of softmax entries. The loss
    is the mean of ``-log b_ij`` over the pairs of equal labels. Of n equal bags each gets 1/n at
    best, so the loss does not reach 0 there. With one text a bag and no labels it is InfoNCE.

    Args:
        logits: (B, B * M) scaled cosines; the M columns of a bag follow each other.
        bag_size: M.
        labels: (B,) integers; bags of equal labels fit too. None: each clip has its own bag alone.
        both_ways: Add the contrast of each bag's best text with all clips. The best text of a bag
            is the one that its own clip likes best.

    Raises:
        UsageError: the logits are not (B, B * M), or there is not one label a clip.
    """
    count = len(logits)
    if bag_size < 1 or logits.shape != (count, count * bag_size):
        raise UsageError(
            f"logits {tuple(logits.shape)} are not (B, B * M) with bags of {bag_size} texts; give "
            "one bag for each clip, all of one size"
        )
    if labels is not None and labels.shape != (count,):
        raise UsageError(f"labels {tuple(labels.shape)} for {count} clips; give one a clip")
    own = torch.arange(count, device=logits.device)
    named = own if labels is None else labels
    pairs = named[:, None] == named[None]
    bags = logits.unflatten(1, (count, bag_size))
    mass = logits.log_softmax(dim=1).unflatten(1, (count, bag_size)).logsumexp(dim=2)
    loss = -mass[pairs].mean()
    if both_ways:
        best = bags[own, own].argmax(dim=1)
        loss = loss - bags[:, own, best].log_softmax(dim=0)[pairs].mean()
    return loss

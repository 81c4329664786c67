"""Losses of clips that may show several labels: each label is yes or no.

Letters: N clips, C labels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses


def asymmetric_loss(
    logits: Tensor, targets: Tensor, *, focus_shown: float = 0.0, focus_absent: float = 0.0
) -> Tensor:
    """Binary cross-entropy that counts easy answers less (Ridnik et al., ICCV 2021, equation 7).

    ``-mean(y (1 - p)^g+ log p + (1 - y) p^g- log(1 - p))``, with ``p = sigmoid(logit)``. Where few
    of many labels are shown, the many easy absent ones would outweigh them: ``focus_absent = 2``.
    With both at 0 it is the mean binary cross-entropy.

    Args:
        logits: (N, C).
        targets: (N, C) from 0 to 1.
        focus_shown: ``g+``, at least 0.
        focus_absent: ``g-``, at least 0.
    """
    shown = targets * F.logsigmoid(logits)
    absent = (1 - targets) * F.logsigmoid(-logits)
    if focus_shown:
        shown = shown * torch.sigmoid(-logits) ** focus_shown
    if focus_absent:
        absent = absent * torch.sigmoid(logits) ** focus_absent
    return -(shown + absent).mean()

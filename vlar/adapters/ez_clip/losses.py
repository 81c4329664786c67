"""The losses of EZ-CLIP: contrastive over the batch, and of motion (arXiv 2312.08010).

Both are taken in float32. Letters: N videos, T frames, C labels, E joint width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses


def motion_loss(frames: Tensor) -> Tensor:
    """``1 / (1 + C + V)``: small where frame features change along time.

    C is the mean absolute central difference with repeated ends, V the mean unbiased variance
    along time. A still video gives 1, as does a single frame.

    Args:
        frames: (N, T, E), not normalised: the loss depends on their length.
    """
    frames = frames.float()
    if frames.shape[1] == 1:
        return frames.new_ones(())
    later = torch.cat([frames[:, 1:], frames[:, -1:]], dim=1)
    sooner = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    change = (later - sooner).abs().mean() / 2
    return 1 / (change + frames.var(dim=1).mean() + 1)


def agreement(targets: Tensor) -> Tensor:
    """How far the labels of any two of N videos agree: the cosine of their shares (N, C).

    With one-hot shares 1 for the same label, else 0; a video always agrees with itself, also
    where its labels are smoothed or mixed.
    """
    shares = F.normalize(targets.float(), dim=-1)
    return shares @ shares.T


def contrastive_losses(logits: Tensor, agree: Tensor, sharpness: float) -> tuple[Tensor, Tensor]:
    """Kullback-Leibler divergence from the softened agreement, video to text and back.

    Args:
        logits: (N, N), scaled cosines of the videos and of the texts of their labels.
        agree: (N, N), from ``agreement``.
        sharpness: Factor before the softmax that makes the target of it.
    """
    target = (sharpness * agree).softmax(dim=-1)

    def divergence(found: Tensor) -> Tensor:
        return F.kl_div(found.log_softmax(dim=-1), target, reduction="batchmean")

    return divergence(logits), divergence(logits.T)

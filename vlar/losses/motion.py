"""Losses on how frame features change over time.

Letters: N clips, T frames, E joint width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def motion_loss(frames: Tensor) -> Tensor:
    """``1 / (1 + C + V)``: small where frame features change over time (EZ-CLIP, arXiv 2312.08010).

    C is the mean absolute central difference with repeated ends, V the mean unbiased variance
    over time. A still clip gives 1, and so does a single frame. Computed in float32.

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

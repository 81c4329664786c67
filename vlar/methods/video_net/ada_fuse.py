"""AdaFuse: each channel of a frame is computed, taken from the frame before, or left out.

Meng et al., "AdaFuse: adaptive temporal fusion network for efficient action recognition", 2021.
Letters: N clips, T frames, C channels; a choice (N, T, C, 3) is one-hot: keep, reuse, skip.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from vlar.training.tower_network import draw

TEMPERATURE = 0.67
_KEPT = 1.0  # logit of keep at the start: most channels begin as they are computed


@dataclass
class Spent:
    """Multiply-adds of N clips that were needed, and those of a full run.

    Attributes:
        needed: (N,) tensors with gradients, one a layer that can be spared in part.
        full: Multiply-adds of one clip, of the same layers.
    """

    needed: list[Tensor] = field(default_factory=list[Tensor])
    full: list[int] = field(default_factory=list[int])

    def share(self) -> Tensor:
        """(N,) needed of full."""
        return torch.stack(self.needed).sum(dim=0) / sum(self.full)


def fuse(maps: Tensor, choice: Tensor) -> Tensor:
    """Maps with each channel kept, taken from the frame before, or zero.

    Args:
        maps: (N, T, C, ...).
        choice: (N, T, C, 3).

    Returns:
        (N, T, C, ...). What is reused is the map of the frame before as it was computed; the first
        frame reuses zeros.
    """
    before = torch.cat([torch.zeros_like(maps[:, :1]), maps[:, :-1]], dim=1)
    keep, reuse, _ = choice.reshape(*choice.shape[:3], *(1,) * (maps.ndim - 3), 3).unbind(-1)
    return keep * maps + reuse * before


def needed(choice: Tensor) -> Tensor:
    """(N, T, C), 1 where a map must be computed: it is kept now, or the next frame reuses it."""
    after = torch.cat([choice[:, 1:, :, 1], torch.zeros_like(choice[:, :1, :, 1])], dim=1)
    return 1 - (1 - choice[..., 0]) * (1 - after)


class ChannelGate(nn.Module):
    """Chooses for each channel by the means of this frame and of the one before."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.enter, self.norm = nn.Linear(2 * n_in, n_out), nn.BatchNorm1d(n_out)
        self.leave = nn.Linear(n_out, 3 * n_out)
        with torch.no_grad():
            self.leave.bias.view(n_out, 3)[:, 0] = _KEPT

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, T, H, W) to a choice (N, T, n_out, 3); with noise in training only."""
        now = x.mean(dim=(3, 4)).transpose(1, 2)
        before = torch.cat([torch.zeros_like(now[:, :1]), now[:, :-1]], dim=1)
        inner = self.enter(torch.cat([before, now], dim=2))
        inner = self.norm(inner.flatten(0, 1)).unflatten(0, inner.shape[:2]).relu()
        seed = int(torch.randint(2**31, ())) if self.training else None
        return draw(self.leave(inner).unflatten(2, (-1, 3)), TEMPERATURE, seed=seed)


def fused(inner: Tensor, choice: Tensor, spent: Spent, before: int, after: int) -> Tensor:
    """Maps of a block after its choice, whose cost is added to ``spent``.

    Args:
        inner: (N, C, T, H, W) between the two convolutions of a block.
        choice: (N, T, C, 3).
        spent: Is changed.
        before: Multiply-adds of the convolution that made ``inner``, of one clip.
        after: Multiply-adds of the one that reads it.
    """
    spent.full += [before, after]
    read = 1 - choice[..., 2]
    spent.needed += [before * needed(choice).mean(dim=(1, 2)), after * read.mean(dim=(1, 2))]
    return fuse(inner.transpose(1, 2), choice).transpose(1, 2)

"""Movement in networks of pictures: channels that are shifted in time.

Letters: N clips, C channels, T frames, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.methods.video_net.inflated import gate_shift


class GateShift(nn.Module):
    """A learned gate chooses what is shifted (Sudhakaran et al., "Gate-shift-fuse", 2023)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(channels)
        self.gate = nn.Conv3d(channels, 2, 3, padding=1, groups=2)
        self.mix = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to the same; the halves of the channels are interleaved."""
        gate = torch.tanh(self.gate(self.norm(x).relu()))
        averages = x.mean(dim=(3, 4), keepdim=True)
        gated = gate.repeat_interleave(x.shape[1] // 2, dim=1) * x
        gated = gated.mean(dim=(3, 4), keepdim=True)
        moved = gate_shift(gated, torch.ones_like(gated[:, :2]))
        pooled = torch.stack([moved, averages - gated], dim=1).flatten(3)  # (N, 2, C, T)
        mix = torch.sigmoid(self.mix(pooled)[:, 0])
        shifted = gate_shift(x, gate, mix=mix)
        return shifted.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


class Shift(nn.Module):
    """A quarter of the channels comes from the next frame, and a quarter from the one before."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to the same."""
        quarter = x.shape[1] // 4
        after = F.pad(x[:, :quarter, 1:], (0, 0, 0, 0, 0, 1))
        before = F.pad(x[:, quarter : 2 * quarter, :-1], (0, 0, 0, 0, 1, 0))
        return torch.cat([after, before, x[:, 2 * quarter :]], dim=1)


class Excite(nn.Module):
    """Channels weighed by their own means (squeeze and excitation, Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Linear(channels, max(channels // 4, 1))
        self.up = nn.Linear(max(channels // 4, 1), channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to the same."""
        weight = torch.sigmoid(self.up(self.down(x.mean(dim=(2, 3, 4))).relu()))
        return x * weight[:, :, None, None, None]

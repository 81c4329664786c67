"""The transformer of the temporal adapter.

Letters: N windows, T frames, K inputs of a frame, D joint width, C labels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.temporal.config import TemporalConfig

WAVES = 4  # frequencies of the time position
_LABEL_GAIN = 0.15  # the texts of labels move slower than the windows


class TemporalNetwork(nn.Module):
    """Frame inputs to a residual of the window vector; exactly zero at the start.

    Args:
        config: Sizes.
        n_inputs: K.
        dim: D.
        fitted: Per block the width of its entries; the projections to K are stored here.
    """

    def __init__(self, config: TemporalConfig, n_inputs: int, dim: int, fitted: list[int]) -> None:
        super().__init__()
        self.config, self.dim = config, dim
        for number, width in enumerate(fitted):
            self.register_buffer(f"mean{number}", torch.zeros(width))
            self.register_buffer(f"axes{number}", torch.zeros(width, config.components))
        width = config.width
        self.enter = nn.Linear(n_inputs * (2 if config.steps else 1), width)
        self.time = nn.Linear(2 * WAVES, width, bias=False)
        self.prompts = nn.Parameter(0.02 * torch.randn(config.n_prompts, width))
        self.layers = layers(width, config.heads, config.layers, config.dropout)
        self.norm = nn.LayerNorm(2 * width)
        self.drop = nn.Dropout(config.dropout)
        self.leave = nn.Linear(2 * width, dim)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        self.labels = nn.Parameter(torch.zeros(len(config.labels), dim))

    def residual(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to what is added to the window vectors, (N, D)."""
        # Scaled so that one step of the optimiser moves a unit vector a little, whatever its width.
        moved = self.leave(self.drop(self.norm(self.read(inputs))))
        return moved * (1 / math.sqrt(self.dim * self.leave.in_features))

    def read(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to (N, 2 width): what the prompts and what the frames say, averaged."""
        x = inputs
        if self.config.steps:
            later = torch.cat([x[:, 1:], x[:, -1:]], dim=1)
            earlier = torch.cat([x[:, :1], x[:, :-1]], dim=1)
            x = torch.cat([x, later - earlier], dim=-1)
        x = self.enter(self.drop(x)) + self.time(positions(x))
        x = torch.cat([self.prompts.expand(len(x), -1, -1), x], dim=1)
        for layer in self.layers:
            x = layer(x)
        prompts, frames = x.split((len(self.prompts), inputs.shape[1]), dim=1)
        return torch.cat([prompts.mean(dim=1), frames.mean(dim=1)], dim=-1)

    def vectors(self, inputs: Tensor, pooled: Tensor) -> Tensor:
        """Window vectors (N, D) of unit length from the encoder's own ones (N, D)."""
        return F.normalize(pooled + self.residual(inputs), dim=-1)

    def concepts(self, texts: Tensor) -> Tensor:
        """Texts (C, P, D) of the labels, P prompts each, to concepts (C, D) of unit length."""
        moved = F.normalize(texts + self.label_residual()[:, None], dim=-1)
        return F.normalize(moved.mean(dim=1), dim=-1)

    def label_residual(self) -> Tensor:
        """(C, D) that is added to every text of a trained label."""
        return self.labels * _LABEL_GAIN


def layers(width: int, heads: int, count: int, dropout: float) -> nn.ModuleList:
    """Layers of a transformer with the norm first and twice the width inside."""
    return nn.ModuleList(
        nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        for _ in range(count)
    )


def positions(x: Tensor) -> Tensor:
    """(T, 2 waves) of x (N, T, ...): where in the window a frame is, whatever T."""
    count = x.shape[1]
    place = (torch.arange(count, device=x.device, dtype=x.dtype) + 0.5) / count
    phase = math.pi * place[:, None] * torch.arange(1, WAVES + 1, device=x.device)
    return torch.cat([phase.sin(), phase.cos()], dim=-1)

"""The transformer of the temporal adapter.

Letters: N windows, T frames, K inputs of a frame, D joint width, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vlar.adapters.temporal.config import TemporalConfig
from vlar.adapters.tower_network import (
    WAVES,
    ResidualNetwork,
    layers,
    positions,
    register_directions,
    small_step,
    zero_linear,
)


class TemporalNetwork(ResidualNetwork):
    """Frame inputs to a residual of the window vector; exactly zero at the start.

    Args:
        config: Sizes.
        n_inputs: K.
        dim: D.
        fitted: Per block the width of its entries; the projections to K are stored here.
    """

    def __init__(
        self, config: TemporalConfig, n_inputs: int, dim: int, fitted: Sequence[int]
    ) -> None:
        super().__init__()
        self.config = config
        register_directions(self, fitted, config.components)
        width = config.width
        self.enter = nn.Linear(n_inputs * (2 if config.steps else 1), width)
        self.time = nn.Linear(2 * WAVES, width, bias=False)
        self.prompts = nn.Parameter(0.02 * torch.randn(config.n_prompts, width))
        self.layers = layers(width, config.heads, config.layers, config.dropout)
        self.norm = nn.LayerNorm(2 * width)
        self.drop = nn.Dropout(config.dropout)
        self.leave = zero_linear(2 * width, dim)
        self.register_labels(len(config.labels), dim)

    def residual(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to what is added to the window vectors, (N, D)."""
        moved = self.leave(self.drop(self.norm(self.read(inputs))))
        return small_step(moved, self.leave.in_features)

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

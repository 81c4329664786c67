"""``rebuild``: parts that are lost are predicted from the rest (ActionMAE, Woo et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vlar.methods.fusion.losses import masked_error
from vlar.methods.fusion.tokens import (
    Fused,
    FusionBlock,
    FusionConfig,
    InputsOfPart,
    Seen,
    TokenAttention,
    masked,
)
from vlar.training.tower_network import layers


class Rebuild(FusionBlock):
    """One vector a part; an encoder reads those kept, a decoder predicts those lost.

    Memory tokens stand in both. Which parts are lost is drawn for each clip. The loss counts parts
    that were recorded and then lost; a target is standardised and has no gradient. All vectors are
    replaced by the decoder's, except where a clip has lost none.
    """

    def __init__(self, config: FusionConfig, parts: Sequence[InputsOfPart]) -> None:
        super().__init__(config, parts)
        width = config.width

        def stack() -> nn.ModuleList:
            return layers(width, config.heads, config.layers, config.dropout)

        self.answer = nn.Parameter(0.02 * torch.randn(width))
        self.memory = nn.Parameter(0.02 * torch.randn(config.memory, width))
        self.lost = nn.Parameter(0.02 * torch.randn(width))
        self.place = nn.Parameter(0.02 * torch.randn(len(parts), width))
        self.time, self.encoder, self.decoder = stack(), stack(), stack()
        self.leave = nn.Linear(width, width)
        self.fuse = (
            TokenAttention(config, parts)
            if config.fuse == "attention"
            else nn.Linear(width * (len(parts) if config.fuse == "concatenation" else 1), width)
        )

    def forward(self, seen: Seen) -> Fused:
        """Fuse the parts, after those not kept were predicted."""
        vectors = self.vectors(seen.rows)
        rebuilt, decoded = self.rebuilt(vectors, seen.kept)
        hidden = seen.there & ~seen.kept
        loss = self.config.hidden * masked_error(decoded, vectors.detach(), hidden)
        return Fused(self.joined(rebuilt), {"rebuild": loss})

    def vectors(self, rows: Tensor) -> Tensor:
        """One vector a part: (N, M, R, W) to (N, M, W)."""
        x = rows.flatten(0, 1)
        x = torch.cat([self.answer.expand(len(x), 1, -1), x], dim=1)
        for layer in self.time:
            x = layer(x)
        return x[:, 0].unflatten(0, rows.shape[:2])

    def rebuilt(self, vectors: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """All parts (N, M, W) from those kept (N, M): as they are fused, and as predicted."""
        memory = self.memory.expand(len(vectors), -1, -1)
        none = torch.zeros_like(kept[:, :1]).expand(-1, len(self.memory))
        x = torch.cat([memory, vectors + self.place], dim=1)
        x = masked(self.encoder, x, torch.cat([none, ~kept], dim=1))
        memory, own_vectors = x.split([len(self.memory), vectors.shape[1]], dim=1)
        filled = torch.where(kept[..., None], own_vectors, self.lost + self.place)
        x = torch.cat([memory, filled], dim=1)
        for layer in self.decoder:
            x = layer(x)
        decoded = self.leave(x[:, len(self.memory) :])
        return torch.where(kept.all(dim=1)[:, None, None], own_vectors, decoded), decoded

    def joined(self, vectors: Tensor) -> Tensor:
        """(N, M, W) to (N, W)."""
        if isinstance(self.fuse, TokenAttention):
            everyone = torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)
            return self.fuse.read(vectors[:, :, None], everyone)
        if self.config.fuse == "sum":
            return self.fuse(vectors).sum(dim=1)
        return self.fuse(vectors.flatten(1))

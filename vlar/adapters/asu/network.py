"""Units that a clip shows, and the decoder that they steer.

Letters: N clips, K moments, G whole frame and parts, U units, k units that are chosen, D width of
the shared space, W width of the decoder.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vlar.adapters.asu.config import AsuConfig
from vlar.adapters.msq.closed import position_code


class UnitLayer(nn.Module):
    """Attention among queries, to the moments, and a feed-forward layer; each starts at 0."""

    def __init__(self, width: int, config: AsuConfig) -> None:
        """W."""
        super().__init__()
        self.norm_own, self.norm_query = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm_token, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        dropout, heads = config.dropout, config.heads
        self.own = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.cross = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.feed = nn.Sequential(
            nn.Linear(width, config.feed * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(config.feed * width, width),
        )
        for layer in (self.own.out_proj, self.cross.out_proj, self.feed[-1]):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Queries (N, 1 + k, W) and tokens (N, K G, W) to (N, 1 + k, W)."""
        own, keys = self.norm_own(queries), self.norm_token(tokens)
        queries = queries + self.own(own, own, own, need_weights=False)[0]
        asked = self.norm_query(queries)
        queries = queries + self.cross(asked, keys, keys, need_weights=False)[0]
        return queries + self.feed(self.norm_feed(queries))


class AsuNetwork(nn.Module):
    """The change of a clip's vector that its units cause; 0 at the start.

    Args:
        dim: D.
        width: W.
        units: (U, D) unit vectors of the units.
        config: The settings.
    """

    units: Tensor

    def __init__(self, dim: int, width: int, units: Tensor, config: AsuConfig) -> None:
        super().__init__()
        self.register_buffer("units", units)
        self.selected = min(config.selected, len(units))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)))
        self.layers = nn.ModuleList(UnitLayer(width, config) for _ in range(config.layers))
        if config.layers:
            self.unit = nn.Linear(dim, width, bias=False)
            self.token = nn.Linear(dim, width, bias=False)
            self.video = nn.Parameter(torch.randn(width) / width**0.5)
            self.place = nn.Parameter(torch.tensor(0.3))
            self.part = nn.Parameter(torch.zeros(1 + (config.grid or 0) ** 2, width))
            self.out = nn.Linear(width, dim)
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def shown(self, tokens: Tensor) -> Tensor:
        """How much of each unit every moment shows: (N, K, G, D) to (N, K, U), rows sum to 1.

        Similarities are taken from their mean over the units and divided by their deviation, since
        cosines of one encoder differ little. Parts count by the log of the sum of exponentials,
        which gives each of them a gradient.
        """
        alike = tokens @ (self.units - self.units.mean(dim=0)).T
        alike = alike - alike.mean(dim=-1, keepdim=True)
        alike = alike / alike.std(dim=-1, keepdim=True, correction=0).clamp_min(1e-6)
        return (alike / self.log_temperature.exp()).logsumexp(dim=2).softmax(dim=-1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (N, K, G, D) to what is added to the clips' vectors (N, D)."""
        if not self.layers:
            return tokens.new_zeros(len(tokens), tokens.shape[-1])
        weights, chosen = self.shown(tokens).mean(dim=1).topk(self.selected, dim=-1)
        asked = self.unit(self.units[chosen]) * (weights * self.units.shape[0])[..., None]
        video = self.video.expand(len(tokens), 1, -1)
        memory = self.token(tokens) + self.part[: tokens.shape[2]]
        code = position_code(tokens.shape[1], memory.shape[-1]).to(memory)
        memory = (memory + self.place * code[:, None]).flatten(1, 2)
        queries = torch.cat([video, asked], dim=1)
        for layer in self.layers:
            queries = layer(queries, memory)
        return self.out(queries[:, 0])

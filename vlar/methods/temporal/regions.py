"""Attention over the parts of a frame, and layers that start as those of a frozen tower.

Letters: N clips, T frames, L parts of a frame, D their width, H heads, B width of the bottleneck.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.encoders.clip.block_view import ACTIVATIONS, BlockView

_NARROW = 8  # the width of a part over that of the bottleneck


def pool(tokens: Tensor, query: Tensor, up: Tensor, down: Tensor | None = None) -> Tensor:
    """Parts of frames to one vector a frame; their mean where ``query`` and ``up`` are zero.

    ``a = softmax over L of (X q / sqrt D)`` for each head; a head mixes its own share of the D
    entries. A bottleneck follows, ``y + up gelu(down y)``.

    Args:
        tokens: X, (N, T, L, D).
        query: (H, D), H up to D.
        up: (D, B).
        down: (B, D); None is ``up`` transposed.

    Returns:
        (N, T, D).
    """
    shares = (tokens @ query.T / tokens.shape[-1] ** 0.5).softmax(dim=2)  # N, T, L, H
    parts = tokens.tensor_split(len(query), dim=-1)
    mixed = [
        (part * share.unsqueeze(-1)).sum(dim=2)
        for part, share in zip(parts, shares.unbind(-1), strict=True)
    ]
    pooled = torch.cat(mixed, dim=-1)
    hidden = F.linear(pooled, up.T if down is None else down)
    return pooled + F.linear(F.gelu(hidden), up)


class RegionPooling(nn.Module):
    """``pool`` with its parameters, the mean at the start.

    Args:
        dim: D.
        heads: H.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        narrow = max(1, dim // _NARROW)
        self.query = nn.Parameter(torch.zeros(heads, dim))
        self.up = nn.Parameter(torch.zeros(dim, narrow))
        self.down = nn.Parameter(torch.randn(narrow, dim) / dim**0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T, L, D) to (N, T, D)."""
        return pool(tokens, self.query, self.up, self.down)


def layer_of(block: BlockView, dropout: float) -> nn.TransformerEncoderLayer:
    """A layer of its own parameters, which computes what a block of a frozen tower computes.

    Args:
        block: Block of the tower.
        dropout: In training, 0 to below 1.
    """
    width, hidden = block.fc1.in_features, block.fc1.out_features
    activation = ACTIVATIONS[block.activation]
    layer = nn.TransformerEncoderLayer(
        width, block.heads, hidden, dropout, activation, batch_first=True, norm_first=True
    )
    weight, bias = block.in_proj(0, 3)
    attention = layer.self_attn
    copies: list[tuple[Any, Any]] = [
        (attention.in_proj_weight, weight),
        (attention.in_proj_bias, weight.new_zeros(3 * width) if bias is None else bias),
    ]
    pairs: list[tuple[Any, Any]] = [
        (attention.out_proj, block.out_proj),
        (layer.linear1, block.fc1),
        (layer.linear2, block.fc2),
        (layer.norm1, block.ln_1),
        (layer.norm2, block.ln_2),
    ]
    for to, of in pairs:
        copies += [(to.weight, of.weight), (to.bias, of.bias)]
    with torch.no_grad():
        for parameter, value in copies:
            parameter.copy_(value.detach())
    for norm, of in ((layer.norm1, block.ln_1), (layer.norm2, block.ln_2)):
        norm.eps = float(getattr(of, "eps", norm.eps))
    return layer

"""A vision transformer's block, as VideoMAE, STPrivacy and ActionMAE name it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_TINY = 1e-6


class Attention(nn.Module):
    """Self-attention with one matrix for queries, keys and values.

    Args:
        width: Channels.
        heads: Attention heads.
        split_bias: Queries and values have a bias, keys have none (VideoMAE); else all three.
    """

    def __init__(self, width: int, heads: int, split_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=not split_bias)
        self.q_bias = nn.Parameter(torch.zeros(width)) if split_bias else None
        self.v_bias = nn.Parameter(torch.zeros(width)) if split_bias else None
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens (B, N, D) of tokens; ``mask`` (B, N, 1), 1 = may be read by others."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x)
        if self.q_bias is not None and self.v_bias is not None:
            qkv = qkv + torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        query, key, value = qkv.view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = query * (width // self.heads) ** -0.5 @ key.transpose(-1, -2)
        weights = scores.softmax(-1) if mask is None else _masked(scores, mask)
        return self.proj((weights @ value).transpose(1, 2).reshape(batch, tokens, width))


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    """Weights of the readable tokens; each token also reads itself."""
    tokens = scores.shape[-1]
    readable = mask.transpose(1, 2)[:, None]  # (B, 1, 1, N)
    itself = torch.eye(tokens, dtype=scores.dtype, device=scores.device)
    readable = readable + (1 - readable) * itself
    powers = (scores - scores.amax(-1, keepdim=True)).exp() * readable
    return (powers + _TINY / tokens) / (powers.sum(-1, keepdim=True) + _TINY)


class Mlp(nn.Module):
    """Two linear maps around a GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (..., D) of tokens."""
        return self.fc2(functional.gelu(self.fc1(x)))


class Layer(nn.Module):
    """Attention and an MLP, each after a norm and with a residual."""

    def __init__(
        self, width: int, heads: int, hidden: int, split_bias: bool = False, eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps)
        self.attn = Attention(width, heads, split_bias)
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp = Mlp(width, hidden)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens (B, N, D) of tokens."""
        x = x + self.attn(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))


class TubeEmbed(nn.Module):
    """Tubelets of a clip (B, 3, T, H, W) as tokens (B, N, D) in the order time, row, column."""

    def __init__(self, width: int, tubelet: int, patch: int) -> None:
        super().__init__()
        size = (tubelet, patch, patch)
        self.proj = nn.Conv3d(3, width, size, size)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D)."""
        return self.proj(x).flatten(2).transpose(1, 2)


def sinusoids(count: int, width: int) -> Tensor:
    """Table of positions (1, count, width), made in float64."""
    positions = torch.arange(count, dtype=torch.float64)[:, None]
    column = torch.arange(width, dtype=torch.float64)
    angles = positions / 10_000 ** (2 * torch.div(column, 2, rounding_mode="floor") / width)
    table = torch.where(column % 2 == 0, angles.sin(), angles.cos())
    return table.float()[None]

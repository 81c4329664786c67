"""The head of the paper: class queries of a fixed label list, answered by an encoder-decoder.

Mondal et al., "Actor-agnostic multi-label action recognition with multi-modal query" (MSQNet),
ICCV workshops 2023. Its queries and its head belong to one label list, so it cannot answer about
others; ``network`` has the form for any list.

Letters: B clips, L tokens of a clip, T frames, C labels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses


class GroupwiseLinear(nn.Module):
    """A weight vector and a bias of its own for each label: (B, C, D) to (B, C)."""

    def __init__(self, n_labels: int, width: int) -> None:
        """C and D; both are drawn from U(-1/sqrt(D), 1/sqrt(D))."""
        super().__init__()
        self.W = nn.Parameter(torch.empty(1, n_labels, width))
        self.b = nn.Parameter(torch.empty(1, n_labels))
        for parameter in (self.W, self.b):
            nn.init.uniform_(parameter, -1 / math.sqrt(width), 1 / math.sqrt(width))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return (self.W * x).sum(-1) + self.b


class ClosedMsqHead(nn.Module):
    """Tokens of a clip and vectors of its frames to one logit a label.

    Args:
        token_dim: Width of a token.
        clip_dim: Width of a frame's vector.
        width: D, of the transformer.
        n_labels: C.
        n_frames: T; the tokens are pooled to as many.
        layers: Layers of the encoder, and of the decoder.
        heads: Heads of every attention.
        feed: Width of the feed-forward layers.
        dropout: Dropout of every layer and behind the position code, 0 to below 1.
    """

    def __init__(
        self,
        *,
        token_dim: int,
        clip_dim: int,
        width: int,
        n_labels: int,
        n_frames: int,
        layers: int = 6,
        heads: int = 8,
        feed: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.n_frames = n_frames
        self.query = nn.Parameter(torch.randn(n_labels, width))
        self.linear1 = nn.Linear(token_dim, width, bias=False)
        self.linear2 = nn.Linear(width + clip_dim, width, bias=False)
        self.transformer = nn.Transformer(
            width, heads, layers, layers, feed, dropout, batch_first=True
        )
        self.head = GroupwiseLinear(n_labels, width)
        self.dropout = nn.Dropout(dropout)

    def memory(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L, token_dim) to the source (B, T, D) of the transformer."""
        pooled = F.adaptive_avg_pool1d(tokens.transpose(1, 2), self.n_frames).transpose(1, 2)
        small = self.linear1(pooled)
        return self.dropout(small + position_code(self.n_frames, small.shape[-1]).to(small))

    def queries(self, frame_vectors: Tensor) -> Tensor:
        """Vectors of frames (B, T, clip_dim) to the queries (B, C, D): text first, then video."""
        video = frame_vectors.mean(dim=1)[:, None].expand(-1, len(self.query), -1)
        text = self.query[None].expand(len(video), -1, -1)
        return self.linear2(torch.cat([text, video], dim=-1))

    def forward(self, tokens: Tensor, frame_vectors: Tensor) -> Tensor:
        """Logits (B, C).

        Args:
            tokens: (B, L, token_dim).
            frame_vectors: (B, T, clip_dim).
        """
        return self.head(self.transformer(self.memory(tokens), self.queries(frame_vectors)))


def position_code(length: int, width: int) -> Tensor:
    """(length, width) sinusoids: sine in the even columns, cosine in the odd ones.

    Vaswani et al. 2017, section 3.5.
    """
    place = torch.arange(length)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    code = torch.zeros(length, width)
    code[:, 0::2] = torch.sin(place * rate)
    code[:, 1::2] = torch.cos(place * rate[: width // 2])
    return code

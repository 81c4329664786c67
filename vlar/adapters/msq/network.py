"""The open form of MSQNet's head: any label is a query, and a label alone answers as among many.

Letters: N clips, C labels, M tokens of a clip, D width of the shared space, W width of the decoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.msq.closed import position_code
from vlar.adapters.msq.config import MsqConfig

_SHARPNESS = 1.5  # of queries and keys at the start
_LABELS = 256  # queries that are decoded at a time
_STEP = 100.0  # on two numbers that are logits; at the others' rate they would stand still


class DecoderLayer(nn.Module):
    """Cross-attention and a feed-forward layer, both behind a norm; queries do not meet."""

    def __init__(self, width: int, config: MsqConfig) -> None:
        """The attention starts by comparing queries with tokens as they are."""
        super().__init__()
        self.norm_query, self.norm_token = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(
            width, config.heads, dropout=config.dropout, batch_first=True
        )
        self.norm_feed = nn.LayerNorm(width)
        self.feed = nn.Sequential(
            nn.Linear(width, config.feed * width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.feed * width, width),
        )
        same = torch.eye(width)
        with torch.no_grad():
            self.attention.in_proj_weight.copy_(
                torch.cat([_SHARPNESS * same, _SHARPNESS * same, same])
            )
            self.attention.out_proj.weight.copy_(same)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Queries (N, C, W) and tokens (N, M, W) to (N, C, W)."""
        keys = self.norm_token(tokens)
        found = self.attention(self.norm_query(queries), keys, keys, need_weights=False)[0]
        queries = queries + found
        return queries + self.feed(self.norm_feed(queries))


class MsqNetwork(nn.Module):
    """What the decoder adds to the logit of a clip and a label; 0 at the start.

    ``tau <H, W_h q> / (|H| |W_h q|)``, where ``H`` is the query ``W_t q + W_g g`` after the
    decoder, q the text of the label and g the vector of the clip; and one bias for all logits.

    Args:
        dim: D.
        width: W.
        config: The settings.
    """

    def __init__(self, dim: int, width: int, config: MsqConfig) -> None:
        super().__init__()
        self.text = nn.Linear(dim, width, bias=False)
        self.video = nn.Linear(dim, width, bias=False)
        self.token = nn.Linear(dim, width, bias=False)
        self.answer = nn.Linear(dim, width, bias=False)
        self.place = nn.Parameter(torch.zeros(()))
        self.layers = nn.ModuleList(DecoderLayer(width, config) for _ in range(config.layers))
        self.tau = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(()))
        axes = torch.empty(width, dim)
        nn.init.orthogonal_(axes)
        self.set_axes(axes)
        nn.init.zeros_(self.video.weight)

    @torch.no_grad()
    def set_axes(self, axes: Tensor) -> None:
        """Read texts and tokens along the same directions (W, D), so that they can be compared."""
        for layer in (self.text, self.token, self.answer):
            layer.weight.copy_(axes)

    def forward(self, texts: Tensor, vectors: Tensor, tokens: Tensor) -> Tensor:
        """What is added to the logits (N, C), without the bias.

        Args:
            texts: (C, D) unit vectors of labels.
            vectors: (N, D) unit vectors of clips.
            tokens: (N, K, R, D) unit vectors of moments and their parts.
        """
        memory = self.token(tokens)
        code = position_code(tokens.shape[1], memory.shape[-1]).to(memory)
        memory = (memory + self.place * code[:, None]).flatten(1, 2)
        video = self.video(vectors)[:, None]
        parts = [self._part(part, video, memory) for part in texts.split(_LABELS)]
        return _STEP * self.tau * torch.cat(parts, dim=1)

    @property
    def offset(self) -> Tensor:
        """The bias of all logits, for the loss of several labels."""
        return _STEP * self.bias

    def _part(self, texts: Tensor, video: Tensor, memory: Tensor) -> Tensor:
        """(N, c) cosines of decoded queries and answers."""
        queries = self.text(texts)[None] + video
        for layer in self.layers:
            queries = layer(queries, memory)
        return F.cosine_similarity(queries, self.answer(texts)[None], dim=-1)

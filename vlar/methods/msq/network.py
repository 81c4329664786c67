"""The open form of MSQNet's head: any label is a query, and a label alone answers as among many.

Letters: N clips, C labels, M tokens of a clip, D width of the shared space, W width of the decoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.settings import Settings, setting

_MOST_WEIGHTS = 1 << 24
_SHARPNESS = 1.5  # of queries and keys at the start
_LABELS = 256  # queries that are decoded at a time
_STEP = 100.0  # on two numbers that are logits; at the others' rate they would stand still


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
    positions = torch.arange(length)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    code = torch.zeros(length, width)
    code[:, 0::2] = torch.sin(positions * rate)
    code[:, 1::2] = torch.cos(positions * rate[: width // 2])
    return code


@dataclass(frozen=True)
class MsqConfig(Settings):
    """Settings of the queries and the decoder.

    Attributes:
        width: Width of the decoder, at most that of the encoder; None for 256, or the encoder's.
        layers: Layers of the decoder.
        heads: Heads of its attention.
        feed: Width of a feed-forward layer, in widths of the decoder.
        dropout: Dropout in training, 0 to below 1.
        moments: Equal spans of a clip that the decoder reads.
        grid: Parts of a frame along each side that it reads too; 0 for whole frames alone.
        focus_shown: Exponent of the loss of several labels that discounts an easy shown label.
        focus_absent: The same of an absent label; 2 where few of many labels are shown.
        labels: The labels it was trained for; it answers about any others too.
    """

    width: int | None = setting(None, at_least=1, at_most=4096)
    layers: int = setting(2, at_least=1, at_most=64)
    heads: int = setting(8, at_least=1, at_most=4096)
    feed: int = setting(2, at_least=1, at_most=16)
    dropout: float = setting(0.1, at_least=0, below=1)
    moments: int = setting(8, at_least=1, at_most=1024)
    grid: int = setting(0, at_least=0, at_most=7)
    focus_shown: float = setting(0.0, at_least=0, at_most=16)
    focus_absent: float = setting(0.0, at_least=0, at_most=16)
    labels: tuple[str, ...] = ()

    what: ClassVar[str] = "msq setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        self.require_multiple(self.width, self.heads)
        self.require_few(
            "layers",
            self.layers * (self.width or 256) ** 2 * self.feed,
            _MOST_WEIGHTS,
            "less: layers * width**2 * feed",
        )


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
        attended = self.attention(self.norm_query(queries), keys, keys, need_weights=False)[0]
        queries = queries + attended
        return queries + self.feed(self.norm_feed(queries))


class MsqNetwork(nn.Module):
    """Decoder term that is added to the logit of a clip and a label; 0 at the start.

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
        """Term that is added to the logits (N, C), without the bias.

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


def asymmetric_loss(
    logits: Tensor, targets: Tensor, *, focus_shown: float = 0.0, focus_absent: float = 0.0
) -> Tensor:
    """Binary cross-entropy that counts easy answers less (Ridnik et al., ICCV 2021, equation 7).

    ``-mean(y (1 - p)^g+ log p + (1 - y) p^g- log(1 - p))``, with ``p = sigmoid(logit)``. Where few
    of many labels are shown, the many easy absent ones would outweigh them: ``focus_absent = 2``.
    With both at 0 it is the mean binary cross-entropy.

    Args:
        logits: (N, C).
        targets: (N, C) from 0 to 1.
        focus_shown: ``g+``, at least 0.
        focus_absent: ``g-``, at least 0.
    """
    shown = targets * F.logsigmoid(logits)
    absent = (1 - targets) * F.logsigmoid(-logits)
    if focus_shown:
        shown = shown * torch.sigmoid(-logits) ** focus_shown
    if focus_absent:
        absent = absent * torch.sigmoid(logits) ** focus_absent
    return -(shown + absent).mean()

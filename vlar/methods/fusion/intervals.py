"""``intervals``: an interval of a recording asks (TIM, Chalk et al., CVPR 2024; from the paper).

Letters: N recordings, M parts, R rows, S tokens, Q intervals, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.methods.fusion.tokens import Fused, FusionBlock, FusionConfig, InputsOfPart, Seen
from vlar.training.tower_network import layers

_WAVES = 6  # frequencies of the start and of the end of an interval


def visible(tokens: int, queries: int) -> Tensor:
    """Mask of attention: (S, S) bool, a row attends to a column.

    Tokens attend to tokens; a query attends to tokens and to itself, never to another query.

    >>> visible(1, 2).int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    """
    mask = torch.eye(tokens + queries, dtype=torch.bool)
    mask[:, :tokens] = True
    return mask


class Intervals(FusionBlock):
    """Query tokens that hold an interval read the tokens of all sensors.

    A token is its content and its interval, concatenated; so is a query. Its content is learned,
    and begins with the mean over the interval (ours: few clips do not teach where to look). In
    training up to ``laid`` clips of a batch follow each other, and each one's interval asks. So
    clips of single actions teach intervals of longer recordings.
    """

    timed = False

    def __init__(self, config: FusionConfig, parts: Sequence[InputsOfPart]) -> None:
        super().__init__(config, parts)
        half = config.width // 2
        self.content = nn.Linear(config.width, half)
        self.query = nn.Parameter(0.02 * torch.randn(half))
        self.time = nn.Sequential(nn.Linear(4 * _WAVES, half), nn.GELU(), nn.Linear(half, half))
        self.layers = layers(config.width, config.heads, config.layers, config.dropout)

    def forward(self, seen: Seen) -> Fused:
        """An answer a clip: the whole of it asks, or its share of the clips laid end to end."""
        count = len(seen.rows)
        laid = int(torch.randint(1, self.config.laid + 1, ())) if self.training else 1
        laid = min(laid, count)
        filled = torch.arange(-(-count // laid) * laid, device=seen.rows.device) % count
        rows, masks = end_to_end(seen.rows[filled], seen.kept[filled], laid)
        ends = torch.linspace(0, 1, laid + 1, device=rows.device)
        spans = torch.stack([ends[:-1], ends[1:]], dim=1)
        return Fused(self.answers(rows, masks, spans).flatten(0, 1)[:count], {})

    def answers(self, rows: Tensor, kept: Tensor, asked: Tensor) -> Tensor:
        """Answers (N, Q, W) about intervals.

        Args:
            rows: (N, M, R, W) tokens over the whole of each recording.
            kept: (N, M, R) bool, the tokens that are there.
            asked: (Q, 2) start and end, as shares of the recording.
        """
        n, parts, count, _ = rows.shape
        ends = torch.linspace(0, 1, count + 1, device=rows.device)
        times = self.when(torch.stack([ends[:-1], ends[1:]], dim=1)).expand(n, parts, -1, -1)
        tokens = torch.cat([self.content(rows), times], dim=-1).flatten(1, 2)
        shared = torch.minimum(asked[:, 1:], ends[1:]) - torch.maximum(asked[:, :1], ends[:-1])
        weight = shared.clamp_min(0).repeat(1, parts) * kept.flatten(1)[:, None]
        weight = weight / weight.sum(dim=-1, keepdim=True).clamp_min(1e-6)
        content = self.query + weight @ tokens[..., : len(self.query)]
        queries = torch.cat([content, self.when(asked).expand(n, -1, -1)], dim=-1)
        x = torch.cat([tokens, queries], dim=1)
        blind = ~visible(tokens.shape[1], len(asked)).to(x.device)
        gone = F.pad(~kept.flatten(1), (0, len(asked)))
        for layer in self.layers:
            x = layer(x, src_mask=blind, src_key_padding_mask=gone)
        return x[:, tokens.shape[1] :]

    def when(self, intervals: Tensor) -> Tensor:
        """(Q, 2) intervals to (Q, W / 2)."""
        phase = (
            math.pi * intervals[..., None] * 2.0 ** torch.arange(_WAVES, device=intervals.device)
        )
        return self.time(torch.cat([phase.sin(), phase.cos()], dim=-1).flatten(-2))


def end_to_end(rows: Tensor, kept: Tensor, laid: int) -> tuple[Tensor, Tensor]:
    """Clips (n laid, M, R, W) and their parts (n laid, M) as recordings of ``laid`` clips each.

    Returns:
        (n, M, laid R, W), and which tokens are there (n, M, laid R).
    """
    present = kept[..., None].expand(*rows.shape[:3])
    tokens, mask = (
        tensor.unflatten(0, (-1, laid)).transpose(1, 2).flatten(2, 3) for tensor in (rows, present)
    )
    return tokens, mask

"""Linear heads of the whole body and of each part, and the training that GAP gives them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.parts.config import PartsConfig
from vlar.losses.parts import part_contrastive

_START = math.log(1 / 0.07)


class PartsNetwork(nn.Module):
    """P linear heads, each from its own entries of a clip to the width of texts.

    Args:
        components: Entries of a clip that each head reads.
        text: Width of a text's vector.
        n_parts: P, the whole body included.
    """

    def __init__(self, components: int, text: int, n_parts: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(components, text) for _ in range(n_parts))
        self.scale = nn.Parameter(torch.full((n_parts,), _START))

    def forward(self, clips: Tensor) -> Tensor:
        """(n, P, S) to (P, n, K) vectors of unit length."""
        rows = [head(part) for head, part in zip(self.heads, clips.unbind(dim=1), strict=True)]
        return F.normalize(torch.stack(rows), dim=-1)


def train(
    network: PartsNetwork,
    clips: Tensor,
    texts: Tensor,
    same: Tensor,
    columns: Tensor,
    config: PartsConfig,
) -> list[float]:
    """Train on clips (n, P, S) and texts (P, C, K) of labels (n,); the loss at start and end.

    The cross-entropy of labels is that of a linear classifier of the whole body, which is dropped
    afterwards. Labels are drawn evenly. Draws are torch's own: seed it before.

    Args:
        network: Is changed.
        clips: (n, P, S).
        texts: (P, C, K).
        same: (P, C) numbers; labels with one number have one text of a part.
        columns: (n,) label of each clip.
        config: The settings.
    """
    classify = nn.Linear(clips.shape[2], texts.shape[1])
    parameters = [*network.parameters(), *classify.parameters()]
    adam = torch.optim.AdamW(parameters, config.rate, weight_decay=config.decay)
    slope = torch.optim.lr_scheduler.CosineAnnealingLR(adam, config.steps)
    chance = 1.0 / torch.bincount(columns).double()[columns]
    losses: list[float] = []
    for _ in range(config.steps):
        rows = torch.multinomial(chance, config.batch, replacement=True)
        y = columns[rows]
        vectors = network(clips[rows])
        scale = network.scale.exp().clamp(max=100) if config.scale == "exp" else network.scale
        each = [
            part_contrastive(vectors[p : p + 1], texts[p : p + 1, y], same[p, y], scale[p : p + 1])
            for p in range(len(vectors))
        ]
        loss = F.cross_entropy(classify(clips[rows, 0]), y)
        loss = loss + config.factor * torch.cat(each).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        slope.step()
        losses.append(float(loss.detach()))
    return [losses[0], losses[-1]]

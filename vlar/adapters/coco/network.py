"""The trained parts of CoCo: residual maps of clips, label texts and descriptions.

Letters: N clips, C labels, P descriptions a label, D joint width, K inputs of a clip.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.coco.config import CocoConfig
from vlar.adapters.tower_network import register_directions


class LowRank(nn.Module):
    """``x + B A x`` with B zero at the start.

    Args:
        width: D.
        rank: Rows of A.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return x + self.up(self.down(x))


class CocoNetwork(nn.Module):
    """Maps clips, label texts and sets of descriptions into one space.

    Args:
        config: The settings.
        dim: D.
        blocks: Blocks of the frame features, whose directions are kept as buffers.
    """

    def __init__(self, config: CocoConfig, dim: int, blocks: list[int]) -> None:
        super().__init__()
        self.config = config
        inputs = dim + len(blocks) * config.components
        self.enter = nn.Linear(inputs, config.hidden)
        self.leave = nn.Linear(config.hidden, dim, bias=False)
        nn.init.zeros_(self.leave.weight)
        self.names = LowRank(dim, config.rank)
        self.texts = LowRank(dim, config.rank)
        self.key = nn.Linear(dim, config.rank)
        self.query = nn.Linear(config.rank, 1, bias=False)
        nn.init.zeros_(self.query.weight)  # all descriptions alike at the start
        register_directions(self, blocks, config.components)
        self.register_buffer("common", torch.zeros(dim))
        self.register_buffer("concepts", torch.zeros(len(config.labels), dim))

    def clips(self, inputs: Tensor, vectors: Tensor) -> Tensor:
        """(N, D) unit vectors of clips.

        Args:
            inputs: (N, K) small inputs, means over time.
            vectors: (N, D) of the encoder.
        """
        hidden = F.gelu(self.enter(torch.cat([inputs, vectors], dim=-1)))
        return F.normalize(vectors + self.leave(hidden), dim=-1)

    def single(self, texts: Tensor) -> Tensor:
        """(..., D) descriptions, each for itself, to unit vectors."""
        return F.normalize(self.texts(texts), dim=-1)

    def pooled(self, texts: Tensor) -> Tensor:
        """(P, D) descriptions of one label to one vector (D,); order and repetition do not count.

        Repeating the whole list leaves both poolings as they are.
        """
        if self.config.pooling == "attention":
            weights = self.query(self.key(texts).tanh()).softmax(dim=0)
        else:
            weights = texts.new_full((len(texts), 1), 1 / len(texts))
        return (weights * texts).sum(dim=0) - self.get_buffer("common")

    def labels(self, names: Tensor, described: list[Tensor]) -> Tensor:
        """(C, D) unit vectors of labels: their texts and their descriptions.

        Args:
            names: (C, D) of the encoder.
            described: C times (P, D) of the encoder; a label without any goes by its text.
        """
        own = F.normalize(self.names(names), dim=-1)
        share, rows = self.config.names, list(own)
        for place, texts in enumerate(described):
            if len(texts):
                found = F.normalize(self.texts(self.pooled(texts)), dim=-1)
                rows[place] = share * own[place] + (1 - share) * found
        return F.normalize(torch.stack(rows), dim=-1) if rows else own

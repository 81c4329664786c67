"""The agent block of RefAtomNet (Peng et al., "Referring Atomic Video Action Recognition", 2024).

A few agents stand between the tokens of a stream: they gather what the tokens hold, and give it
back to every token. The agents of other streams (text, location) can gate those of this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Agents:
    """The agents of one stream, before any gate.

    Attributes:
        agents: (B, h, m, d) m agents of h heads.
        attention: (B, h, m, S) how much each takes of each token.
    """

    agents: Tensor
    attention: Tensor


class AgentAttention(nn.Module):
    """Attention through agents: agents attend to tokens, tokens to agents.

    Args:
        width: D of a token.
        heads: h; D is a multiple of it.
        agents: m.
    """

    def __init__(self, width: int, heads: int, agents: int) -> None:
        super().__init__()
        self.heads, self.agents = heads, agents
        self.scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.pool = nn.Sequential(
            nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, agents * width)
        )
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, guides: Sequence[Agents]) -> tuple[Tensor, Agents]:
        """Tokens (B, S, D), normalised, to their update (B, S, D) and the agents."""
        count, length, width = tokens.shape
        split = width // self.heads
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        agents = self.pool(query).mean(dim=1).view(count, self.heads, self.agents, split)
        query, key, value = (
            each.view(count, length, self.heads, split).transpose(1, 2)
            for each in (query, key, value)
        )
        attention = (self.scale * agents @ key.transpose(-2, -1)).softmax(dim=-1)
        own = Agents(agents, attention)
        if guides:
            attention = gated(attention, [guide.attention for guide in guides])
            agents = gated(agents, [guide.agents for guide in guides])
        back = (self.scale * query @ agents.transpose(-2, -1)).softmax(dim=-1)
        mixed = back @ (attention @ value)
        return self.proj(mixed.transpose(1, 2).reshape(count, length, width)), own


def gated(own: Tensor, guides: Sequence[Tensor]) -> Tensor:
    """A stream's agents (or their attention), gated by the sum of those of other streams.

    The mean of three: gated by a softmax over the last axis, gated by one over the heads, and as
    they are. With one head the second softmax is 1 everywhere.

    Args:
        own: (B, h, m, n).
        guides: At least one, of the same shape.
    """
    total = torch.stack(list(guides)).sum(dim=0)
    return (own * total.softmax(dim=-1) + own * total.softmax(dim=1) + own) / 3


class Mlp(nn.Module):
    """Two layers with a GELU between, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(.., D) to (.., D)."""
        return self.fc2(nn.functional.gelu(self.fc1(tokens)))


class AgentBlock(nn.Module):
    """One block of a stream: agent attention and an MLP, each added to its input.

    Args:
        width: D of a token.
        heads: h; each agent then has the width D / h.
        agents: m.

    Raises:
        ValueError: the width is not a multiple of the heads.
    """

    def __init__(self, width: int, *, heads: int = 1, agents: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = AgentAttention(width, heads, agents)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, guides: Sequence[Agents] = ()) -> tuple[Tensor, Agents]:
        """Tokens (B, S, D) to tokens (B, S, D), and this block's own agents.

        Args:
            x: The tokens of the stream.
            guides: Agents of other streams with as many tokens, heads and agents; none for a
                stream of its own.
        """
        moved, own = self.attn(self.norm1(x), guides)
        x = x + moved
        return x + self.mlp(self.norm2(x)), own

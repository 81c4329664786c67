"""The network of ``refer``: three streams of tokens, agents between them, a pointer to a person.

After RefAtomNet (Peng et al. 2024), with two changes: a softmax over people takes the place of a
mean over boxes, and the box is chosen among those detected instead of computed. Letters: N clips, K
people (padded), D width of the joint space, E of a sentence vector, d of a token, S tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vlar.adapters.settings import Settings, setting
from vlar.errors import ModelError

PLACE_WIDTH = 8  # box, its size, and the place in the row, from both sides
HIDDEN = -1e4  # logit of a person who is not there


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
            projection.view(count, length, self.heads, split).transpose(1, 2)
            for projection in (query, key, value)
        )
        attention = (self.scale * agents @ key.transpose(-2, -1)).softmax(dim=-1)
        frame_agents = Agents(agents, attention)
        if guides:
            attention = gated(attention, [guide.attention for guide in guides])
            agents = gated(agents, [guide.agents for guide in guides])
        back = (self.scale * query @ agents.transpose(-2, -1)).softmax(dim=-1)
        mixed = back @ (attention @ value)
        return self.proj(mixed.transpose(1, 2).reshape(count, length, width)), frame_agents


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


class AgentMlp(nn.Module):
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
        self.mlp = AgentMlp(width)

    def forward(self, x: Tensor, guides: Sequence[Agents] = ()) -> tuple[Tensor, Agents]:
        """Tokens (B, S, D) to tokens (B, S, D), and this block's own agents.

        Args:
            x: The tokens of the stream.
            guides: Agents of other streams with as many tokens, heads and agents; none for a
                stream of its own.
        """
        moved, attended = self.attn(self.norm1(x), guides)
        x = x + moved
        return x + self.mlp(self.norm2(x)), attended


@dataclass(frozen=True)
class ReferConfig(Settings):
    """The size of the network, and what it starts from.

    Attributes:
        width: Width of a token; a multiple of ``heads``.
        heads: Heads of the agent attention.
        agents: Agents of a stream.
        tokens: Tokens of each stream.
        people: Most people of a clip, from the left.
    """

    width: int = setting(64, at_least=8, at_most=1024)
    heads: int = setting(4, at_least=1, at_most=16)
    agents: int = setting(4, at_least=1, at_most=16)
    tokens: int = setting(8, at_least=2, at_most=64)
    people: int = setting(10, at_least=2, at_most=32)
    what: ClassVar[str] = "refer setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        if self.width % self.heads:
            raise ModelError(
                f"refer setting width is {self.width}: not a multiple of {self.heads} heads; "
                "correct one of them"
            )


class ReferNetwork(nn.Module):
    """Points at one of K people.

    Args:
        dim: D.
        text_width: E.
        colours: Colours that are measured on clothes.
        config: The settings.
    """

    def __init__(self, dim: int, text_width: int, colours: int, config: ReferConfig) -> None:
        super().__init__()
        width, blocks = config.width, {"heads": config.heads, "agents": config.agents}
        self.config = config
        self.visual_in = nn.Linear(dim, width)
        self.text_in = nn.Linear(text_width, width)
        self.people_in = nn.Linear(dim + PLACE_WIDTH + colours, width)
        self.text_tokens = nn.Linear(1, config.tokens)
        self.people_tokens = nn.Linear(config.people, config.tokens)
        self.visual_tokens = nn.Linear(config.people + 1, config.tokens)
        self.text = AgentBlock(width, **blocks)
        self.location = AgentBlock(width, **blocks)
        self.visual = AgentBlock(width, **blocks)
        self.ask, self.offer = nn.Linear(width, width), nn.Linear(width, width)
        # At the start the network adds nothing: the choice is that of the measures.
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, people: Tensor, whole: Tensor, text: Tensor, there: Tensor) -> Tensor:
        """Score of each person, to be added to the measured one.

        Args:
            people: (N, K, D + places + colours) vector of each cut, its place and its colours.
            whole: (N, D) vectors of the whole pictures.
            text: (N, E) sentence vectors of the references.
            there: (N, K) bool, False for padding.

        Returns:
            (N, K) logits; a person who is not there has -1e4.
        """
        shown = self.people_in(people) * there[..., None]
        cuts = people[..., : whole.shape[-1]]
        visual = self.visual_in(torch.cat([whole[:, None], cuts], dim=1))
        words = self.text_in(text)[:, None]
        text_out, text_agents = self.text(_along_tokens(self.text_tokens, words))
        _, people_agents = self.location(_along_tokens(self.people_tokens, shown))
        visual_out, _ = self.visual(
            _along_tokens(self.visual_tokens, visual), (text_agents, people_agents)
        )
        count = there.sum(dim=1, keepdim=True).clamp(min=1)
        fused = shown.sum(dim=1) / count + text_out.mean(dim=1) + visual_out.mean(dim=1)
        answer_query = self.ask(torch.tanh(fused) * torch.tanh(words[:, 0]) + words[:, 0])
        logits = (self.offer(torch.tanh(shown)) @ answer_query[..., None])[..., 0]
        logits = torch.tanh(self.gain) * logits
        return logits.masked_fill(~there, HIDDEN)


def _along_tokens(layer: nn.Linear, tokens: Tensor) -> Tensor:
    """A linear map over the axis of tokens: (N, n, d) to (N, S, d)."""
    return layer(tokens.transpose(1, 2)).transpose(1, 2)

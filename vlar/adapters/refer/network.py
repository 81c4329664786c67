"""The network of ``refer``: three streams of tokens, agents between them, a pointer to a person.

After RefAtomNet (Peng et al. 2024), with two changes: a softmax over people takes the place of a
mean over boxes, and the box is chosen among those detected instead of computed. Letters: N clips, K
people (padded), D width of the joint space, E of a sentence vector, d of a token, S tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlar.adapters.refer.agent import AgentBlock
from vlar.adapters.refer.config import ReferConfig

PLACE_WIDTH = 8  # box, its size, and the place in the row, from both sides
HIDDEN = -1e4  # logit of a person who is not there


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
        """How much each person is meant, to be added to what was measured.

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
        seen = self.visual_in(torch.cat([whole[:, None], cuts], dim=1))
        words = self.text_in(text)[:, None]
        text_out, text_agents = self.text(_along_tokens(self.text_tokens, words))
        _, people_agents = self.location(_along_tokens(self.people_tokens, shown))
        visual_out, _ = self.visual(
            _along_tokens(self.visual_tokens, seen), (text_agents, people_agents)
        )
        count = there.sum(dim=1, keepdim=True).clamp(min=1)
        fused = shown.sum(dim=1) / count + text_out.mean(dim=1) + visual_out.mean(dim=1)
        wanted = self.ask(torch.tanh(fused) * torch.tanh(words[:, 0]) + words[:, 0])
        logits = (self.offer(torch.tanh(shown)) @ wanted[..., None])[..., 0]
        logits = torch.tanh(self.gain) * logits
        return logits.masked_fill(~there, HIDDEN)


def _along_tokens(layer: nn.Linear, tokens: Tensor) -> Tensor:
    """A linear map over the axis of tokens: (N, n, d) to (N, S, d)."""
    return layer(tokens.transpose(1, 2)).transpose(1, 2)

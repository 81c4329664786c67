"""ISTA-Net: tokens of windows over time, joints and people, related without a softmax.

Wen et al., "Interactive spatiotemporal token attention network for skeleton-based general
interactive action recognition", IROS 2023.

Letters: N clips, M people, C channels, T frames, V joints, U tokens of t frames and w columns.
"""

from __future__ import annotations

import itertools
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.methods.skeleton_towers.network import Body, Found, Given
from vlar.methods.skeleton_towers.partitions import partition

_HEADS = 3


def rearranged(x: Tensor, order: Tensor) -> Tensor:
    """The people of each clip (N, M, ...) in another order (N, M)."""
    return x[torch.arange(len(x), device=x.device)[:, None], order]


def drawn_order(n: int, people: int) -> Tensor:
    """(n, M) a random order of the people of each clip, from the generator of the training."""
    return torch.rand(n, people).argsort(dim=1)


class TokenBlock(nn.Module):
    """Attention over all tokens, then convolutions in a token; each part is residual.

    ``a = alpha tanh(<q, k> / size) + prior``: weights may be negative and need not sum to 1, and
    the prior of a pair of tokens is free. Values are the inputs themselves.

    Args:
        inputs: C.
        outputs: Channels after it.
        tokens: U.
    """

    def __init__(self, inputs: int, outputs: int, tokens: int) -> None:
        super().__init__()
        self.pair = nn.Conv3d(inputs, 2 * _HEADS * max(outputs // 4, 1), 1, bias=False)
        self.alpha = nn.Parameter(torch.ones(_HEADS, 1, 1))
        self.prior = nn.Parameter(torch.full((_HEADS, tokens, tokens), 1 / tokens))
        self.mix = _layer(_HEADS * inputs, outputs, (1, 1, 5))
        self.feed = _layer(outputs, outputs, (1, 1, 1))
        self.time = _layer(outputs, outputs, (3, 1, 1))
        same = inputs == outputs
        self.skip = nn.Identity() if same else _layer(inputs, outputs, (1, 1, 1))

    def attention(self, x: Tensor) -> Tensor:
        """(N, H, U, U) of x (N, C, t, w, U)."""
        query, key = self.pair(x).unflatten(1, (2, _HEADS, -1)).flatten(3, 5).unbind(1)
        near = query.mT @ key / query.shape[2]
        return self.alpha * torch.tanh(near) + self.prior

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, t, w, U) to (N, outputs, t, w, U)."""
        found = torch.einsum("nhpq,nctwq->nhctwp", self.attention(x), x).flatten(1, 2)
        x = F.leaky_relu(self.mix(found) + self.skip(x), 0.1)
        x = F.leaky_relu(self.feed(x) + x, 0.1)
        return F.leaky_relu(self.time(x) + x, 0.1)


class IstaNet(Body):
    """Tokens of the joints of all people.

    A clip has ``pieces`` tokens of each joint. Their frames are spread over the clip at even
    strides, as the published code does; missing frames of the last ones are 0. Tokens of all people
    (``together``) give the same answer for any order of them. Tokens of one person do not, so the
    people of each clip of a training are in a random order.
    """

    relates: ClassVar[bool] = True

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        config, widths = given.config, given.widths
        people = config.people if config.together else 1
        self.size = -(-config.frames // config.pieces), people
        self.embed = _layer(given.channels, widths[0], (1, 1, 1))
        tokens = config.pieces * len(given.joints) * config.people // people
        pairs = itertools.pairwise([widths[0], *widths])
        self.blocks = nn.Sequential(*(TokenBlock(*pair, tokens) for pair in pairs))
        self.width = widths[-1]

    def forward(self, x: Tensor, seen: Tensor) -> Found:
        """Streams (N, M, C, T, V) and ``seen`` (N, M, T, V) to the mean of what is seen."""
        if self.training:
            order = drawn_order(len(x), x.shape[1]).to(x.device)
            x, seen = rearranged(x, order), rearranged(seen, order)
        there = self._tokens(seen[:, :, None])
        x = F.leaky_relu(self.embed(self._tokens(x)), 0.1) * there
        for block in self.blocks:
            x = block(x) * there
        total = there.sum(dim=(2, 3, 4)).clamp(min=1)
        return Found(x.sum(dim=(2, 3, 4)) / total)

    def _tokens(self, x: Tensor) -> Tensor:
        """(N, M, C, T, V) to (N, C, t, w, U): columns are joints, then people."""
        wide = x.permute(0, 2, 3, 4, 1).flatten(3)
        wide = F.pad(wide, (0, 0, 0, self.size[0] * self.given.config.pieces - wide.shape[2]))
        return partition(wide, "near", "far", size=self.size).permute(0, 2, 3, 4, 1)


def _layer(inputs: int, outputs: int, kernel: tuple[int, int, int]) -> nn.Sequential:
    convolution = nn.Conv3d(inputs, outputs, kernel, padding="same")
    return nn.Sequential(convolution, nn.BatchNorm3d(outputs))

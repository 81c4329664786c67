"""Units that a clip shows, and the decoder that they steer.

Letters: N clips, K moments, G whole frame and parts, U units, k units that are chosen, D width of
the shared space, W width of the decoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.settings import Settings, setting
from vlar.encoders.clip.block_view import BlockView, VisionView
from vlar.methods.msq.network import position_code
from vlar.methods.semantic_units import Unit

_MOST_WEIGHTS = 1 << 24


@dataclass(frozen=True)
class AsuConfig(Settings):
    """Settings of the choice of units and of the decoder that they steer.

    Attributes:
        units: ``GROUP: WORD`` of each unit. Empty: those that the banks' descriptions of the
            trained labels name; until then body parts alone.
        unit_bank: Bank of units (``write_units``) that fills ``units``; empty for none.
        selected: k, units that steer the decoder.
        temperature: Temperature of the choice, on standardised similarities; trained from there.
        grid: Parts of a frame along each side; 0 for whole frames alone. None: 2 where the encoder
            can distinguish parts, else 0.
        region_blocks: Last blocks of a ViT in which parts have tokens of their own.
        moments: Equal spans of a clip that the decoder reads.
        width: Width of the decoder, at most that of the encoder; None for 64, or the encoder's.
        layers: Layers of the decoder; 0 for none, which leaves the encoder's vectors.
        heads: Heads of its attention.
        feed: Width of a feed-forward layer, in widths of the decoder.
        dropout: Dropout in training, 0 to below 1.
        ground: Weight of the loss that ties chosen units to the descriptions of the label.
        labels: The labels it was trained for.
    """

    units: tuple[str, ...] = ()
    unit_bank: str = ""
    selected: int = setting(32, at_least=1, at_most=4096)
    temperature: float = setting(0.5, above=0, at_most=10)
    grid: int | None = setting(None, at_least=0, at_most=7)
    region_blocks: int = setting(4, at_least=1, at_most=64)
    moments: int = setting(8, at_least=1, at_most=1024)
    width: int | None = setting(None, at_least=1, at_most=4096)
    layers: int = setting(2, at_least=0, at_most=64)
    heads: int = setting(8, at_least=1, at_most=4096)
    feed: int = setting(2, at_least=1, at_most=16)
    dropout: float = setting(0.1, at_least=0, below=1)
    ground: float = setting(0.0, at_least=0, at_most=100)
    labels: tuple[str, ...] = ()

    what: ClassVar[str] = "asu setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        for unit in self.units:
            Unit.parse(unit)
        self.require_multiple(self.width, self.heads)
        self.require_few(
            "layers",
            self.layers * (self.width or 64) ** 2 * self.feed,
            _MOST_WEIGHTS,
            "less: layers * width**2 * feed",
        )


class UnitLayer(nn.Module):
    """Attention among queries, to the moments, and a feed-forward layer; each starts at 0."""

    def __init__(self, width: int, config: AsuConfig) -> None:
        """Layers for W numbers a query."""
        super().__init__()
        self.norm_own, self.norm_query = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm_token, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        dropout, heads = config.dropout, config.heads
        self.own = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.cross = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.feed = nn.Sequential(
            nn.Linear(width, config.feed * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(config.feed * width, width),
        )
        for layer in (self.own.out_proj, self.cross.out_proj, self.feed[-1]):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Queries (N, 1 + k, W) and tokens (N, K G, W) to (N, 1 + k, W)."""
        attended, keys = self.norm_own(queries), self.norm_token(tokens)
        queries = queries + self.own(attended, attended, attended, need_weights=False)[0]
        normed = self.norm_query(queries)
        queries = queries + self.cross(normed, keys, keys, need_weights=False)[0]
        return queries + self.feed(self.norm_feed(queries))


class AsuNetwork(nn.Module):
    """The change of a clip's vector that its units cause; 0 at the start.

    Args:
        dim: D.
        width: W.
        units: (U, D) unit vectors of the units.
        config: The settings.
    """

    units: Tensor

    def __init__(self, dim: int, width: int, units: Tensor, config: AsuConfig) -> None:
        super().__init__()
        self.register_buffer("units", units)
        self.selected = min(config.selected, len(units))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)))
        self.layers = nn.ModuleList(UnitLayer(width, config) for _ in range(config.layers))
        if config.layers:
            self.unit = nn.Linear(dim, width, bias=False)
            self.token = nn.Linear(dim, width, bias=False)
            self.video = nn.Parameter(torch.randn(width) / width**0.5)
            self.place = nn.Parameter(torch.tensor(0.3))
            self.part = nn.Parameter(torch.zeros(1 + (config.grid or 0) ** 2, width))
            self.out = nn.Linear(width, dim)
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def shown(self, tokens: Tensor) -> Tensor:
        """Share of each unit at every moment: (N, K, G, D) to (N, K, U), rows sum to 1.

        Similarities are taken from their mean over the units and divided by their deviation, since
        cosines of one encoder differ little. Parts count by the log of the sum of exponentials,
        which gives each of them a gradient.
        """
        alike = tokens @ (self.units - self.units.mean(dim=0)).T
        alike = alike - alike.mean(dim=-1, keepdim=True)
        alike = alike / alike.std(dim=-1, keepdim=True, correction=0).clamp_min(1e-6)
        return (alike / self.log_temperature.exp()).logsumexp(dim=2).softmax(dim=-1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (N, K, G, D) to what is added to the clips' vectors (N, D)."""
        if not self.layers:
            return tokens.new_zeros(len(tokens), tokens.shape[-1])
        weights, chosen = self.shown(tokens).mean(dim=1).topk(self.selected, dim=-1)
        unit_rows = self.unit(self.units[chosen]) * (weights * self.units.shape[0])[..., None]
        video = self.video.expand(len(tokens), 1, -1)
        memory = self.token(tokens) + self.part[: tokens.shape[2]]
        code = position_code(tokens.shape[1], memory.shape[-1]).to(memory)
        memory = (memory + self.place * code[:, None]).flatten(1, 2)
        queries = torch.cat([video, unit_rows], dim=1)
        for layer in self.layers:
            queries = layer(queries, memory)
        return self.out(queries[:, 0])


class RegionBottleneck(nn.Module):
    """``up(GELU(down(x)))``, a quarter of the width inside; 0 at the start."""

    def __init__(self, width: int) -> None:
        """Layers for D numbers a region."""
        super().__init__()
        self.down = nn.Linear(width, max(1, width // 4))
        self.up = nn.Linear(max(1, width // 4), width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return self.up(F.gelu(self.down(x)))


class RegionAttention(nn.Module):
    """The parts of frames in the joint space, by a tower that is not part of this module.

    Args:
        vision: View of the tower.
        grid: Parts along each side.
        n_blocks: Last blocks in which parts have tokens.
    """

    def __init__(self, vision: VisionView, grid: int, n_blocks: int) -> None:
        super().__init__()
        self._view: list[Any] = [vision]  # a list, so that the tower stays out of this module
        self.grid = grid
        self.first = max(0, len(vision.blocks) - n_blocks)
        blocks = len(vision.blocks) - self.first
        self.adapters = nn.ModuleList(RegionBottleneck(vision.width) for _ in range(blocks))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, height, width) to whole frames and parts (B, 1 + R, E), not normalised."""
        vision: VisionView = self._view[0]
        with torch.no_grad():
            x = vision.embed(images)
            for block in vision.blocks[: self.first]:
                x = block.feed(block.attend(x))
        parts = x[:, :1].expand(-1, self.grid**2, -1).clone()
        inside = self._inside(x.shape[1] - 1).to(x.device)
        for block, adapter in zip(vision.blocks[self.first :], self.adapters, strict=True):
            parts = self._attended(block, x, parts, inside, adapter)
            with torch.no_grad():
                x = block.feed(block.attend(x.clone()))
        return vision.joint(torch.cat([x[:, :1], parts], dim=1))

    def _attended(
        self, block: BlockView, x: Tensor, parts: Tensor, inside: Tensor, adapter: nn.Module
    ) -> Tensor:
        normed, patches = block.ln_1(parts), block.ln_1(x[:, 1:])
        query = block.split_heads(block.project(normed, 0, 1))
        rows = block.project(torch.cat([normed, patches], dim=1), 1, 3)
        key, value = (block.split_heads(half) for half in rows.chunk(2, dim=-1))
        count = parts.shape[1]
        visible = torch.cat([torch.eye(count, dtype=torch.bool, device=x.device), inside], dim=1)
        bias = torch.zeros(visible.shape, dtype=query.dtype, device=x.device)
        mixed = block.mix(query, key, value, bias.masked_fill(~visible, float("-inf")))
        parts = parts + mixed + adapter(mixed.float()).to(mixed.dtype)  # it trains in float32
        return parts + block.mlp(block.ln_2(parts))

    def _inside(self, n_patches: int) -> Tensor:
        """(R, L) whether a patch lies in a part; a row that a border cuts is in both."""
        side = round(n_patches**0.5)
        steps = torch.arange(side)
        number = torch.arange(self.grid)[:, None]
        low, high = number * side // self.grid, -(-(number + 1) * side // self.grid)
        along = (steps >= low) & (steps < high)  # (grid, side)
        both = along[:, None, :, None] & along[None, :, None, :]
        return both.reshape(self.grid**2, side * side)

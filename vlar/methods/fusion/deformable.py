"""``deformable``: maps are sampled where learned offsets point, in time, height and width.

Kim et al., "Cross-modal learning with 3D deformable attention for action recognition", ICCV 2023.

Letters: N clips, C channels, T H W of a map, P points, S tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.methods.fusion.tokens import Fused, FusionBlock, FusionConfig, InputsOfPart, Seen

_STRIDE = 4  # joints that share a layer are this far apart
_HIDDEN = 2


def sample(grid: Tensor, points: Tensor) -> Tensor:
    """Trilinear samples of maps; gradients reach the points.

    Args:
        grid: (N, C, T, H, W).
        points: (N, P, 3) t, y, x in index units; those outside give the nearest entry.

    Returns:
        (N, P, C): the entry at whole numbers, the mean half-way between two.
    """
    grid = F.pad(grid, (1,) * 6, mode="replicate")  # points of the border have gradients too
    last = torch.tensor(grid.shape[2:], device=grid.device) - 1
    scaled = (points + 1) * (2.0 / last) - 1
    scaled_points = scaled.flip(-1)[:, :, None, None]
    sampled = F.grid_sample(grid, scaled_points, padding_mode="border", align_corners=True)
    return sampled[..., 0, 0].transpose(1, 2)


class DeformableLayer(nn.Module):
    """Attention of all tokens to themselves and to samples of the maps.

    Layer l keeps every ``2^(l + 1)``-th moment, and the joints ``l, l + 4, ...``.
    """

    def __init__(self, number: int, parts: int, config: FusionConfig) -> None:
        super().__init__()
        width = config.width
        self.number, self.reach = number, config.reach
        self.offsets = nn.ModuleList(nn.Conv3d(width, 3, 3, padding=1) for _ in range(parts))
        for conv in self.offsets:
            nn.init.zeros_(conv.get_parameter("weight"))
            nn.init.zeros_(conv.get_parameter("bias"))
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(
            width, config.heads, config.dropout, batch_first=True
        )
        self.feed = nn.Sequential(
            nn.Linear(width, _HIDDEN * width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(_HIDDEN * width, width),
        )

    def points(self, number: int, grid: Tensor) -> Tensor:
        """Points (N, P, 3) of the map (N, W, T, H, W') of a part: a strided grid, and offsets."""
        steps = 2 ** (self.number + 1), _STRIDE, 1
        starts = 0, self.number % min(_STRIDE, grid.shape[3]), 0
        cut = [slice(a, b, c) for a, b, c in zip(starts, grid.shape[2:], steps, strict=True)]
        axes = [torch.arange(s.start, s.stop, s.step, device=grid.device) for s in cut]
        fixed = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)
        moved = self.offsets[number](grid)[:, :, cut[0], cut[1], cut[2]].flatten(2)
        return fixed + self.reach * torch.tanh(moved).transpose(1, 2)

    def forward(self, x: Tensor, gone: Tensor, maps: Sequence[Tensor], kept: Tensor) -> Tensor:
        """Tokens (N, S, W), those of missing parts ``gone`` (N, S), and maps of the parts."""
        keys, hidden = [x], [gone]
        for number, grid in enumerate(maps):
            sampled = sample(grid, self.points(number, grid))
            keys.append(sampled)
            hidden.append((~kept[:, number : number + 1]).expand(-1, sampled.shape[1]))
        keys = self.first(torch.cat(keys, dim=1))
        mask = torch.cat(hidden, dim=1)
        part_keys = keys[:, : x.shape[1]]
        x = x + self.attention(part_keys, keys, keys, key_padding_mask=mask, need_weights=False)[0]
        return x + self.feed(self.second(x))


class Deformable(FusionBlock):
    """A cross-modal token answers; it attends to tokens and to samples of every part's map.

    A part with places is a map of them over time, so that offsets in time, height and width all
    count: patches of a video, or joints and devices, ``columns`` a row. Any other is one place.
    """

    def __init__(self, config: FusionConfig, parts: Sequence[InputsOfPart]) -> None:
        super().__init__(config, parts)
        size = config.fold, 1, 1
        self.maps = nn.ModuleList(
            nn.Conv3d(part.channels or part.width, config.width, size, size) for part in parts
        )
        self.places = nn.ParameterList(
            0.02 * torch.randn(config.width, 1, *shape) for shape in (part.shape for part in parts)
        )
        self.cross = nn.Parameter(0.02 * torch.randn(config.width))
        self.layers = nn.ModuleList(
            DeformableLayer(number, len(parts), config) for number in range(config.layers)
        )

    def forward(self, seen: Seen) -> Fused:
        """The cross-modal token after all layers."""
        maps = [self.grid(number, inputs) for number, inputs in enumerate(seen.inputs)]
        x = torch.cat([self.cross.expand(len(seen.rows), 1, -1), seen.rows.flatten(1, 2)], dim=1)
        gone = F.pad((~seen.kept).repeat_interleave(seen.rows.shape[2], dim=1), (1, 0))
        for layer in self.layers:
            x = layer(x, gone, maps, seen.kept)
        return Fused(x[:, 0], {})

    def grid(self, number: int, inputs: Tensor) -> Tensor:
        """Map (N, W, T / fold, H, W') of a part; the last place fills the last row."""
        maps, shape = self.parts[number].map(inputs), self.parts[number].shape
        lacking = shape[0] * shape[1] - maps.shape[-1]
        maps = torch.cat([maps, maps[..., -1:].expand(*maps.shape[:-1], lacking)], dim=-1)
        maps = maps.unflatten(-1, shape)
        short = -maps.shape[2] % self.config.fold
        if short:
            maps = torch.cat([maps, maps[:, :, -1:].expand(-1, -1, short, -1, -1)], dim=2)
        return self.maps[number](maps) + self.places[number]

"""Multi-region attention: tokens of the parts of a frame in the last blocks of a frozen ViT.

Each part of the patch grid has a copy of the class token. It attends to itself and to the patches
of its part, with the frozen weights of the block and a bottleneck adapter that starts at 0. The
class token and the patches stay as they are. (After Chen et al., ICCV 2023; the form is ours.)

Letters: B frames, L patches, R parts, D width of the tower, E width of the joint space.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.encoders.clip.block_view import BlockView, VisionView


class Bottleneck(nn.Module):
    """``up(GELU(down(x)))``, a quarter of the width inside; 0 at the start."""

    def __init__(self, width: int) -> None:
        """D."""
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
        self.adapters = nn.ModuleList(Bottleneck(vision.width) for _ in range(blocks))

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
        own, patches = block.ln_1(parts), block.ln_1(x[:, 1:])
        query = block.split_heads(block.project(own, 0, 1))
        rows = block.project(torch.cat([own, patches], dim=1), 1, 3)
        key, value = (block.split_heads(half) for half in rows.chunk(2, dim=-1))
        count = parts.shape[1]
        seen = torch.cat([torch.eye(count, dtype=torch.bool, device=x.device), inside], dim=1)
        bias = torch.zeros(seen.shape, dtype=query.dtype, device=x.device)
        found = block.mix(query, key, value, bias.masked_fill(~seen, float("-inf")))
        parts = parts + found + adapter(found)
        return parts + block.mlp(block.ln_2(parts))

    def _inside(self, n_patches: int) -> Tensor:
        """(R, L) whether a patch lies in a part; a row that a border cuts is in both."""
        side = round(n_patches**0.5)
        place = torch.arange(side)
        number = torch.arange(self.grid)[:, None]
        low, high = number * side // self.grid, -(-(number + 1) * side // self.grid)
        along = (place >= low) & (place < high)  # (grid, side)
        both = along[:, None, :, None] & along[None, :, None, :]
        return both.reshape(self.grid**2, side * side)

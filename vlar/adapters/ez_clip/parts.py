"""Everything EZ-CLIP adds to a CLIP: temporal prompts and bottleneck adapters.

Letters: T frames, L blocks, D width of a tower, h inner width of an adapter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.ez_clip.config import EzClipConfig
from vlar.encoders.clip.block_view import TextView, VisionView

_FAN_IN = 3 * 16 * 16  # of the prompts' start, whatever the patch size


class Bottleneck(nn.Module):
    """D to h to D with an exact GELU; the caller adds the skip. Zero at its start."""

    def __init__(self, width: int, hidden: int) -> None:
        """Start the layers.

        Args:
            width: D.
            hidden: h.
        """
        super().__init__()
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D), in the type of ``x`` whatever that of the parameters."""
        hidden = F.gelu(F.linear(x, self.down.weight.to(x.dtype), self.down.bias.to(x.dtype)))
        weight, bias = self.up.weight.to(hidden.dtype), self.up.bias.to(hidden.dtype)
        return F.linear(hidden, weight, bias)


class TrainedParts(nn.Module):
    """The parameters by name.

    Attributes:
        temporal_prompts: (L, T, D) or, shallow, (1, T, D); None without prompts.
        visual_adapters: Per image block (key: its number).
        text_adapters: Per text block.
        time_adapters: Per image block, for its attention along time.
        temporal_embedding: (T, D), a constant; None without it.
    """

    temporal_prompts: nn.Parameter | None
    temporal_embedding: Tensor | None

    def __init__(self, vision: VisionView, text: TextView, config: EzClipConfig) -> None:
        """At the method's start: adapters that change nothing, small random prompts."""
        super().__init__()
        width, depth = vision.width, len(vision.blocks)
        rows = {"deep": depth, "shallow": 1, "none": 0}[config.prompts]
        prompts = torch.empty(rows, config.n_frames, width)
        bound = math.sqrt(6 / (_FAN_IN + width))
        nn.init.uniform_(prompts, -bound, bound)
        self.temporal_prompts = nn.Parameter(prompts) if rows else None
        inner = config.hidden("visual", width)
        self.visual_adapters = _adapters(depth, width, inner)
        self.text_adapters = _adapters(
            len(text.blocks), text.width, config.hidden("text", text.width)
        )
        self.time_adapters = _adapters(
            depth, width, (inner or width // 4) if config.time_adapters else 0
        )
        constant = torch.zeros(config.n_frames, width) if config.temporal_embedding else None
        self.register_buffer("temporal_embedding", constant)

    def prompts(self, n_frames: int) -> Sequence[Tensor]:
        """One (T, D) per block that has a prompt, resampled to a number of frames."""
        if self.temporal_prompts is None:
            return ()
        return _resampled(self.temporal_prompts, n_frames).unbind(0)

    def moments(self, n_frames: int) -> Tensor | None:
        """The temporal embedding (T, D), resampled to a number of frames."""
        if self.temporal_embedding is None:
            return None
        return _resampled(self.temporal_embedding[None], n_frames)[0]


def pick(adapters: nn.ModuleDict, block: int) -> Bottleneck | None:
    """The adapter of a block, if it has one."""
    found = adapters[str(block)] if adapters else None
    return found if isinstance(found, Bottleneck) else None


def _adapters(depth: int, width: int, hidden: int) -> nn.ModuleDict:
    blocks = range(depth if hidden else 0)
    return nn.ModuleDict({str(i): Bottleneck(width, hidden) for i in blocks})


def _resampled(rows: Tensor, n_frames: int) -> Tensor:
    """(L, T, D) to another T, linear in time; the same T stays as it is."""
    if rows.shape[1] == n_frames:
        return rows
    moved = F.interpolate(rows.transpose(1, 2), n_frames, mode="linear", align_corners=False)
    return moved.transpose(1, 2)

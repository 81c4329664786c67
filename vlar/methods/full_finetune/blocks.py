"""Transformer blocks with attention across frames, on the block view of any CLIP.

Each is one module for a block of the image tower and holds the added parts. With ``first``
only the class row is computed: in the last block no other is read.

Letters: B videos, T frames, L tokens of a frame (class token first), D width, S keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.settings import Settings, setting
from vlar.encoders.clip import block_view
from vlar.encoders.clip.block_view import BlockView, TextView, VisionView, add
from vlar.language.prompts import check_template_set
from vlar.training.clip_adapter import FROSTER, class_vectors

TEMPORAL = ("window", "adapter", "aim", "st-adapter", "cross-frame")
Record = Callable[[str, Tensor], None]


@dataclass(frozen=True)
class TunedConfig(Settings):
    """Attention across frames, and the trained parts.

    Attributes:
        temporal: ``window``: a frame attends to its neighbours' tokens too (Open-VCLIP, arXiv
            2302.00624), no parameter is added. ``adapter``: a bottleneck parallel to the MLP of
            each frame (AdaptFormer, arXiv 2205.13535). ``aim``: attention runs along time too, with
            bottlenecks (arXiv 2302.03024). ``st-adapter``: a convolution over time (after arXiv
            2206.13559). ``cross-frame``: frames exchange a message token (X-CLIP, arXiv
            2208.02816).
        radius: Radius of the window: neighbours on each side; 0 leaves frames apart.
        tune_towers: Train a copy of both towers, saved with the adapter; else only what
            ``temporal`` adds.
        prompts: Strings of a class: ``froster`` (29 strings) or a template set.
        n_frames: T the model is trained with; any T works.
    """

    temporal: str = setting("window", choices=TEMPORAL)
    radius: int = setting(1, at_least=0, at_most=64)
    tune_towers: bool = True
    prompts: str = "froster"
    n_frames: int = setting(8, at_least=1, at_most=1024)

    what: ClassVar[str] = "setting of a tuned CLIP"

    def check(self) -> None:
        """Refuse values that do not go together."""
        if self.prompts != FROSTER:
            check_template_set(self.prompts, f"{self.what} prompts")


class Mixer(nn.Module):
    """A block with its neighbours in time."""

    def forward(self, block: BlockView, x: Tensor, n_frames: int, *, first: bool) -> Tensor:
        """Tokens (B T, L, D) to (B T, L, D), or to (B T, 1, D) with ``first``.

        Where no gradient is wanted ``x`` itself may be overwritten.
        """
        raise NotImplementedError


class WindowAttention(Mixer):
    """Keys and values of the frames around; those before the first and after the last are zero.

    A zero key is not a masked one: its logit is 0, so it takes a share and damps the output.
    """

    def __init__(self, radius: int) -> None:
        super().__init__()
        self.radius = radius

    def forward(self, block: BlockView, x: Tensor, n_frames: int, *, first: bool) -> Tensor:
        normed, width = block.ln_1(x), x.shape[-1]
        if first:
            x = x[:, :1]
            query, keys = block.project(normed[:, :1], 0, 1), block.project(normed, 1, 3)
        else:
            query, keys = block.project(normed).split((width, 2 * width), dim=-1)
        key, value = self._around(keys, n_frames).chunk(2, dim=-1)
        heads = (block.split_heads(part) for part in (query, key, value))
        return block.feed(add(x, block.mix(*heads)))

    def _around(self, own: Tensor, n_frames: int) -> Tensor:
        """(B T, L, 2 D) to (B T, S, 2 D); shifted views of one padded tensor, not copies."""
        if self.radius == 0:
            return own
        length = own.shape[1]
        frames = own.unflatten(0, (-1, n_frames))
        padded = F.pad(frames, (0, 0, 0, 0, self.radius, self.radius)).flatten(1, 2)
        around = padded.unfold(1, (2 * self.radius + 1) * length, length)
        return around.transpose(-1, -2).flatten(0, 1)


class Bottleneck(nn.Module):
    """``up(GELU(down(x)))``; 0 at the start."""

    def __init__(self, width: int) -> None:
        """A quarter of the width inside."""
        super().__init__()
        self.down = nn.Linear(width, width // 4)
        self.up = _zero(nn.Linear(width // 4, width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return self.up(F.gelu(self.down(x)))


class FeedAdapter(Mixer):
    """A bottleneck parallel to the MLP."""

    def __init__(self, width: int) -> None:
        """Layers for D numbers a token."""
        super().__init__()
        self.feed = Bottleneck(width)

    def forward(self, block: BlockView, x: Tensor, n_frames: int, *, first: bool) -> Tensor:
        return self.fed(block, _attended(block, x, first=first))

    def fed(self, block: BlockView, x: Tensor) -> Tensor:
        """``x + mlp(u) + bottleneck(u) / 2`` with ``u = ln_2(x)``."""
        normed = block.ln_2(x)
        return x + block.mlp(normed) + 0.5 * self.feed(normed)


class TimeAttention(FeedAdapter):
    """The block's own attention along time first, then among the tokens of a frame."""

    def __init__(self, width: int) -> None:
        """Layers for D numbers a token."""
        super().__init__(width)
        self.time = Bottleneck(width)
        self.space = Bottleneck(width)

    def forward(self, block: BlockView, x: Tensor, n_frames: int, *, first: bool) -> Tensor:
        tracks = x.unflatten(0, (-1, n_frames)).transpose(1, 2)  # (B, L, T, D)
        change = self.time(_attention(block, tracks.flatten(0, 1)))
        change = change.unflatten(0, tracks.shape[:2]).transpose(1, 2).flatten(0, 1)
        x = x + change
        change = _attention(block, x, first=first)
        return self.fed(block, (x[:, :1] if first else x) + change + self.space(change))


class TimeConvolution(Mixer):
    """A depth-wise convolution over time on the patch tokens, before the attention."""

    def __init__(self, width: int) -> None:
        """Half of the width inside, three frames, zeros around the clip."""
        super().__init__()
        inner = width // 2
        self.down = nn.Linear(width, inner)
        self.time = nn.Conv2d(inner, inner, (3, 1), padding=(1, 0), groups=inner)
        self.up = _zero(nn.Linear(inner, width))

    def forward(self, block: BlockView, x: Tensor, n_frames: int, *, first: bool) -> Tensor:
        patches = x[:, 1:]
        inner = self.down(patches).unflatten(0, (-1, n_frames))  # (B, T, L - 1, D / 2)
        inner = self.time(inner.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(0, 1)
        x = torch.cat([x[:, :1], patches + self.up(inner)], dim=1)
        return block.feed(_attended(block, x, first=first))


class CrossFrame(Mixer):
    """A message token made of all frames' class tokens takes part in the attention of each."""

    def __init__(self, width: int, heads: int) -> None:
        """D and the heads of the attention over frames."""
        super().__init__()
        self.message = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, block: BlockView, x: Tensor, n_frames: int, *, first: bool) -> Tensor:
        message = self.message(x[:, 0].unflatten(0, (-1, n_frames)))  # (B, T, D)
        normed = self.norm(message)
        message = message + self.attention(normed, normed, normed, need_weights=False)[0]
        x = torch.cat([x, message.flatten(0, 1)[:, None].to(x.dtype)], dim=1)
        x = _attended(block, x, first=first)
        return block.feed(x if first else x[:, :-1])


def make_mixers(config: TunedConfig, blocks: tuple[BlockView, ...], width: int) -> nn.ModuleList:
    """One for each block of an image tower of width D, at its start.

    All but ``cross-frame`` start as the frame-wise tower or, for ``window``, have no parameters.
    """
    if config.temporal == "window":
        return nn.ModuleList(WindowAttention(config.radius) for _ in blocks)
    if config.temporal == "cross-frame":
        return nn.ModuleList(CrossFrame(width, block.heads) for block in blocks)
    kinds = {"adapter": FeedAdapter, "aim": TimeAttention, "st-adapter": TimeConvolution}
    return nn.ModuleList(kinds[config.temporal](width) for _ in blocks)


def _attention(block: BlockView, x: Tensor, *, first: bool = False) -> Tensor:
    """``attention(ln_1(x))`` among the tokens of each sequence, without the residual."""
    normed = block.ln_1(x)
    query = block.project(normed[:, :1] if first else normed, 0, 1)
    key, value = block.project(normed, 1, 3).chunk(2, dim=-1)
    return block.mix(*(block.split_heads(part) for part in (query, key, value)))


def _attended(block: BlockView, x: Tensor, *, first: bool) -> Tensor:
    if not first:
        return block.attend(x)
    return block.attend_rows(x, torch.zeros(len(x), dtype=torch.long, device=x.device))


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


@dataclass(frozen=True)
class TunedNetwork:
    """Views of the towers, and what mixes the frames.

    Attributes:
        vision: Image tower.
        text: Text tower.
        mixers: One for each block of the image tower; see ``blocks``.
        log_scale: Gives the log of the factor from cosine to logit.
    """

    vision: VisionView
    text: TextView
    mixers: nn.ModuleList
    log_scale: Callable[[], Tensor]

    def frames(self, videos: Tensor, record: Record | None = None) -> Tensor:
        """Videos (B, T, 3, height, width) to frame features (B, T, E), not normalised.

        Args:
            videos: Normalised pixels.
            record: Called with a name and the tokens (B T, L, D) behind each block; tests use it.
                The last block is then computed in full.
        """
        batch, n_frames = videos.shape[:2]
        x = self.vision.embed(videos.flatten(0, 1))
        last = len(self.mixers) - 1
        for i, (block, mixer) in enumerate(zip(self.vision.blocks, self.mixers, strict=True)):
            mixed = partial(mixer, first=i == last and record is None)
            x = block_view.recomputed_block(mixed, block, x, n_frames)
            if record is not None:
                record(f"block{i}", x.clone())
        return self.vision.joint(x[:, 0]).unflatten(0, (batch, n_frames))

    def classes(self, ids: Tensor) -> Tensor:
        """Strings (p, C, L) of C classes to class vectors (C, E) of unit length."""
        return class_vectors(self.text.features, ids)

    def logits(self, frames: Tensor, classes: Tensor) -> Tensor:
        """Frame features (B, T, E) and class vectors (C, E) to (B, C).

        The mean over the frames of their scaled cosines, in float32 whatever the rest runs in.
        """
        with torch.autocast(frames.device.type, enabled=False):
            mean = F.normalize(frames.float(), dim=-1).mean(dim=1)
            return self.log_scale().float().exp() * mean @ classes.float().t()

"""TC-CLIP's image tower: every frame also attends to a summary of all frames.

From block 1 on the keys of a frame are its own tokens and the video's context tokens, merged from
the most attended patches of all frames as they stood in the block before (arXiv 2404.09490). The
last block computes the rows that are read, no others.

Letters: B videos, T frames, N patches, L = N + 1 tokens of a frame, k context tokens, D width,
H heads, E joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.tc_clip.config import TcClipConfig
from vlar.adapters.tc_clip.merge import Merged, merge, n_seeds, pick_seeds
from vlar.encoders.clip import recompute
from vlar.encoders.clip.block_view import BlockView, VisionView, add

Record = Callable[[str, Tensor], None]


@dataclass(frozen=True)
class VisionOutput:
    """What the image tower says about B videos.

    Attributes:
        frames: (B, T, E), not normalised.
        context: Per asked block, (B, k, E) context tokens.
    """

    frames: Tensor
    context: dict[int, Tensor]


def encode(
    view: VisionView,
    tables: dict[int, Tensor],
    config: TcClipConfig,
    videos: Tensor,
    levels: Collection[int],
    record: Record | None = None,
) -> VisionOutput:
    """Run the tower.

    Args:
        view: The CLIP image tower.
        tables: Per block from 1 on, the (H, 1, 2) bias of local and of context keys.
        config: Seeds and merging.
        videos: (B, T, 3, height, width), normalised pixels.
        levels: Zero-based blocks whose context tokens are wanted.
        record: Called with a name and a tensor at each intermediate result; tests use it. The
            last block is then computed in full.
    """
    batch, n_frames = videos.shape[:2]
    x = view.embed(videos.flatten(0, 1))
    if torch.is_autocast_enabled(x.device.type):
        x = x.float()  # what seeds are picked and merged from keeps its precision
    context: Tensor | None = None
    wanted: dict[int, Tensor] = {}
    last = len(view.blocks) - 1
    for i, block in enumerate(view.blocks):
        table = tables[i] if context is not None else None
        step = _Step(block, config, batch, n_frames, table, context, i, record)
        if i == last and record is None:
            x, context = step.last(x, with_context=i in levels)
        else:
            x, context = recompute.block(step.full, x)
        if i in levels and context is not None:
            wanted[i] = view.joint(context)
    return VisionOutput(view.joint(x[:, 0]).unflatten(0, (batch, n_frames)), wanted)


@dataclass(frozen=True)
class _Step:
    """One block on one batch."""

    block: BlockView
    config: TcClipConfig
    batch: int
    n_frames: int
    table: Tensor | None
    context: Tensor | None
    index: int
    record: Record | None

    def full(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B T, L, D) to the tokens and the context (B, k, D) behind the block."""
        block = self.block
        normed, shared = block.ln_1(x), self._shared()
        query, local = block.project(normed).split((x.shape[-1], 2 * x.shape[-1]), dim=-1)
        key, value = self._keys(local, shared)
        bias = self._bias(x.shape[1], query)
        change = block.mix(block.split_heads(query), key, value, bias)
        self._note("attn_out", change)
        x = add(x, change)
        picked = self._pick(normed, shared)
        seeds = x[torch.arange(len(x), device=x.device)[:, None], picked + 1]
        merged = self._merge(seeds)
        context = block.feed(merged.tokens)
        x = block.feed(x)
        self._note("out", x)
        self._note("context_out", context)
        return x, context

    def last(self, x: Tensor, *, with_context: bool) -> tuple[Tensor, Tensor | None]:
        """As ``full`` for the class rows alone: (B T, 1, D), and the context if it is wanted."""
        block = self.block
        normed, shared = block.ln_1(x), self._shared()
        key, value = self._keys(block.project(normed, 1, 3), shared)
        query = block.split_heads(block.project(normed[:, :1], 0, 1))
        bias = self._bias(x.shape[1], query)
        first = block.feed(x[:, :1] + block.mix(query, key, value, bias))
        if not with_context:
            return first, None
        # What the text side reads gives the tower no gradient if the gradient is stopped.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.stop_gradient):
            picked = self._pick(normed, shared)
            rows = torch.arange(len(x), device=x.device)[:, None], picked + 1
            query = block.split_heads(block.project(normed[rows], 0, 1))
            seeds = x[rows] + block.mix(query, key, value, bias)
            return first, block.feed(self._merge(seeds).tokens)

    def _shared(self) -> Tensor | None:
        """``ln_1`` of the context tokens of the block before, (B, k, D)."""
        return None if self.context is None else self.block.ln_1(self.context)

    def _keys(self, local: Tensor, shared: Tensor | None) -> tuple[Tensor, Tensor]:
        """Keys and values (B T, H, L + k, D / H) from the frames' own (B T, L, 2 D)."""
        if shared is not None:
            shared = self.block.project(shared, 1, 3)[:, None]
            shared = shared.expand(-1, self.n_frames, -1, -1)
            frames = local.unflatten(0, (self.batch, self.n_frames))
            local = torch.cat([frames, shared], dim=2).flatten(0, 1)
        key, value = local.chunk(2, dim=-1)
        return self.block.split_heads(key), self.block.split_heads(value)

    def _bias(self, n_local: int, query: Tensor) -> Tensor | None:
        """(1, H, 1, L + k): 0 for local keys; softmax ignores what is common to both."""
        if self.table is None or self.context is None:
            return None
        table = self.table.to(query.dtype)
        extra = (table[..., 1] - table[..., 0]).view(1, -1, 1, 1)
        extra = extra.expand(-1, -1, -1, self.context.shape[1])
        return torch.cat([extra.new_zeros(1, len(table), 1, n_local), extra], dim=-1)

    @torch.no_grad()
    def _pick(self, normed: Tensor, shared: Tensor | None) -> Tensor:
        """Seeds (B T, s) by the class row's attention over ``ln_1`` of tokens (B T, L, D).

        In float32 whatever the products around it run in. The key projection is folded into the
        class query, so no key is computed twice; its bias is common to all keys and drops out.
        """
        block, heads = self.block, self.block.heads
        with torch.autocast(normed.device.type, enabled=False):
            normed = normed.float()
            weight, bias = block.in_proj(0, 1)
            query = F.linear(normed[:, 0], weight.float(), None if bias is None else bias.float())
            query = query.unflatten(-1, (heads, -1)).transpose(0, 1)
            folded = query @ block.in_proj(1, 2)[0].float().unflatten(0, (heads, -1))  # (H, B T, D)
            folded = folded.permute(1, 2, 0) * query.shape[-1] ** -0.5
            logits = normed @ folded
            if shared is not None and self.table is not None:
                table = self.table.float()
                folded = folded.unflatten(0, (self.batch, self.n_frames)).transpose(1, 2).flatten(2)
                context = (shared.float() @ folded).unflatten(-1, (self.n_frames, heads))
                context = context + (table[..., 1] - table[..., 0]).view(heads)
                logits = torch.cat([logits, context.transpose(1, 2).flatten(0, 1)], dim=1)
            attention = logits.softmax(dim=1).mean(dim=-1)[:, 1 : normed.shape[1]]
        picked = pick_seeds(attention, n_seeds(attention.shape[1], self.config.seed_fraction))
        self._note("cls_attn", attention)
        self._note("seed_index", picked)
        return picked

    def _merge(self, seeds: Tensor) -> Merged:
        """Seeds (B T, s, D), frame after frame, to context tokens."""
        tokens = seeds.reshape(self.batch, -1, seeds.shape[-1])
        merged = merge(tokens, self.config.context_tokens, self.config.merge_step)
        self._note("context_pre_ffn", merged.tokens)
        self._note("context_size", merged.sizes)
        self._note("context_group", merged.group)
        return merged

    def _note(self, name: str, tensor: Tensor) -> None:
        if self.record is not None:
            self.record(f"block{self.index}.{name}", tensor.clone())

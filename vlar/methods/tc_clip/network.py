"""TC-CLIP on the towers of a CLIP: the differentiable whole.

Letters: B videos, T frames, C classes, E joint width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.settings import Settings, bad_setting, setting
from vlar.encoders.clip import block_view
from vlar.encoders.clip.block_view import BlockView, TextView, VisionView, add
from vlar.methods.tc_clip import text
from vlar.methods.tc_clip.text import ClassSet

Record = Callable[[str, Tensor], None]


@dataclass(frozen=True)
class TcClipConfig(Settings):
    """Settings of a TC-CLIP. The defaults are the paper's (ECCV 2024, arXiv 2404.09490).

    Attributes:
        seed_fraction: Share of a frame's patches that become seeds, rounded down.
        context_tokens: Target number of context tokens per video.
        merge_step: Tokens removed by one merging step.
        n_prompts: Learnable prompt vectors in front of the label.
        prompt_phrase: Words they start from.
        prompt_levels: Text blocks that are preceded by video-conditional prompting, counted from
            1; empty means the last block only. Level j reads the context of vision block j.
        stop_gradient: No gradient from the text side to the vision tower.
        max_tokens: Longest prompt in tokens; None means the text tower's own limit.
        split_capitals: Put a blank before every capital letter of a label (``ApplyEyeMakeup``),
            as the original does on every data set.
        n_frames: T the model was trained with; any T works.
        tune_towers: Work on a copy of the towers that is trained and saved with the adapter, as the
            original does; else the towers stay as they are and only the added parts train.
    """

    seed_fraction: float = setting(0.3, above=0, at_most=1)
    context_tokens: int = setting(96, at_least=1, at_most=65536)
    merge_step: int = setting(100, at_least=1, at_most=65536)
    n_prompts: int = setting(4, at_least=1, at_most=1024)
    prompt_phrase: str = "a photo of a"
    prompt_levels: tuple[int, ...] = ()
    stop_gradient: bool = True
    max_tokens: int | None = setting(None, at_least=1, at_most=65536)
    split_capitals: bool = True
    n_frames: int = setting(16, at_least=1, at_most=1024)
    tune_towers: bool = False

    what: ClassVar[str] = "TC-CLIP setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        if any(level < 1 for level in self.prompt_levels):
            raise bad_setting(
                self.what, "prompt_levels", self.prompt_levels, "levels counted from 1"
            )

    def levels(self, text_blocks: int, vision_blocks: int) -> tuple[int, ...]:
        """Zero-based text blocks that are preceded by prompting, ascending.

        Raises:
            ModelError: a tower has no block of that level.
        """
        levels = sorted(set(self.prompt_levels)) or [text_blocks]
        highest = min(text_blocks, vision_blocks)
        if levels[-1] > highest:
            advice = f"levels up to {highest}, the depth of the towers"
            raise bad_setting(self.what, "prompt_levels", tuple(levels), advice)
        return tuple(level - 1 for level in levels)


@dataclass(frozen=True)
class Merged:
    """Context tokens and where they came from.

    Attributes:
        tokens: (B, k, D), each the plain mean of its members.
        sizes: (B, k), how many members each has.
        group: (B, n) int64, the context token every input token went into.
    """

    tokens: Tensor
    sizes: Tensor
    group: Tensor


def n_seeds(n_patches: int, fraction: float) -> int:
    """Seeds of one frame; at least one."""
    return max(1, int(n_patches * fraction))


def pick_seeds(attention: Tensor, count: int) -> Tensor:
    """The patches the class token looks at most, in descending order.

    Args:
        attention: (..., patches), attention of the class token.
        count: How many.

    Returns:
        (..., count) int64 patch indices.
    """
    order = attention.float().argsort(dim=-1, descending=True, stable=True)
    return order[..., :count]


def merge_schedule(n: int, target: int, step: int) -> list[int]:
    """Tokens removed by each step on the way from ``n`` to ``target`` tokens.

    >>> merge_schedule(464, 96, 100)
    [100, 100, 100, 68]
    >>> merge_schedule(58, 96, 100)
    []
    """
    removed: list[int] = []
    for _ in range(max(0, int((n - target) / step))):
        removed.append(min(step, n // 2))
        n -= removed[-1]
    while n > target:
        removed.append(min(n - target, n // 2))
        n -= removed[-1]
    return removed


def merge(tokens: Tensor, target: int, step: int) -> Merged:
    """Merge the most similar tokens until ``target`` are left.

    Gradients reach the tokens through the means; the grouping carries none.

    Args:
        tokens: (B, n, D) in the order that decides which may merge with which.
        target: k; fewer tokens than that stay as they are.
        step: Most tokens removed at once.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        values = tokens.float()
        group = _group(values.detach(), target, step)
        k = min(values.shape[1], target)
        sums = values.new_zeros(values.shape[0], k, values.shape[2])
        sums = sums.scatter_add(1, group[..., None].expand_as(values), values)
        sizes = values.new_zeros(sums.shape[:2])
        sizes = sizes.scatter_add(1, group, torch.ones_like(group, dtype=values.dtype))
        return Merged((sums / sizes[..., None]).to(tokens.dtype), sizes, group)


@torch.no_grad()
def _group(values: Tensor, target: int, step: int) -> Tensor:
    """(B, n, D) float32 to the index (B, n) of the final token each one ends in."""
    batch, n, width = values.shape
    group = torch.arange(n, device=values.device).expand(batch, n)
    sums = values
    for removed in merge_schedule(n, target, step):
        unit = F.normalize(sums, dim=-1)
        sums_even, right = sums[:, 0::2], sums[:, 1::2]
        # Cosines do not change when a mean is replaced by its sum, so nothing is divided here.
        score, partner = (unit[:, 0::2] @ unit[:, 1::2].transpose(1, 2)).max(dim=-1)
        order = score.argsort(dim=-1, descending=True, stable=True)
        merged, rest_order = order[:, :removed], order[:, removed:]
        target_of = partner.gather(1, merged)

        into = target_of[..., None].expand(-1, -1, width)
        from_ = merged[..., None].expand(-1, -1, width)
        right = right.scatter_add(1, into, sums_even.gather(1, from_))
        sums_even = sums_even.gather(1, rest_order[..., None].expand(-1, -1, width))
        sums = torch.cat([sums_even, right], dim=1)
        group = _moved(rest_order, merged, target_of, sums.shape[1], unit.shape[1]).gather(1, group)
    return group


def _moved(kept: Tensor, merged: Tensor, target_of: Tensor, left: int, n: int) -> Tensor:
    """(B, n): the new position of each of the ``n`` tokens of a step that leaves ``left``."""
    survivors, right = kept.shape[1], n // 2
    assert survivors + right == left
    new = torch.empty(len(kept), n, dtype=torch.long, device=kept.device)
    even = new[:, 0::2]
    places = torch.arange(max(survivors, right), device=kept.device)
    even.scatter_(1, kept, places[:survivors].expand_as(kept))
    even.scatter_(1, merged, survivors + target_of)
    new[:, 1::2] = survivors + places[:right]
    return new


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, the activation of OpenAI's CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x * torch.sigmoid(1.702 * x)


class VideoPrompting(nn.Module):
    """One transformer layer in which the prompts look at the context tokens of a video."""

    def __init__(self, block: BlockView, width: int, joint: int) -> None:
        """Shaped after, and where the widths allow started as a copy of, a text block.

        Args:
            block: The text block that follows.
            width: W.
            joint: E.
        """
        super().__init__()
        hidden = block.fc1.out_features
        self.attn = nn.MultiheadAttention(
            width, block.heads, kdim=joint, vdim=joint, batch_first=True
        )
        self.ln_1 = nn.LayerNorm(width)
        self.ln_1_kv = nn.LayerNorm(joint)
        self.ln_2 = nn.LayerNorm(width)
        activation = QuickGELU() if block.activation == "quick_gelu" else nn.GELU()
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, hidden), gelu=activation, c_proj=nn.Linear(hidden, width)
            )
        )
        self._start(block, copy=width == joint)

    @torch.no_grad()
    def _start(self, block: BlockView, *, copy: bool) -> None:
        if not copy:
            for name, parameter in self.named_parameters():
                if parameter.ndim > 1:
                    nn.init.trunc_normal_(parameter, std=0.02)
                else:
                    nn.init.constant_(parameter, 1.0 if "ln_" in name and "weight" in name else 0.0)
            return
        weight, bias = block.in_proj(0, 3)
        self.attn.in_proj_weight.copy_(weight)
        if bias is not None:
            self.attn.in_proj_bias.copy_(bias)
        self.attn.out_proj.load_state_dict(block.out_proj.state_dict())
        self.ln_1.load_state_dict(block.ln_1.state_dict())
        self.ln_1_kv.load_state_dict(block.ln_1.state_dict())
        self.ln_2.load_state_dict(block.ln_2.state_dict())
        self.mlp.get_submodule("c_fc").load_state_dict(block.fc1.state_dict())
        self.mlp.get_submodule("c_proj").load_state_dict(block.fc2.state_dict())

    def forward(self, prompts: Tensor, context: Tensor) -> Tensor:
        """Prompts (B, n, W) and context tokens (B, k, E) to prompts (B, n, W)."""
        context = self.ln_1_kv(context)
        change, _ = self.attn(self.ln_1(prompts), context, context, need_weights=False)
        prompts = prompts + change
        return prompts + self.mlp(self.ln_2(prompts))


class TcClipParts(nn.Module):
    """Everything TC-CLIP adds to a CLIP.

    Attributes:
        bias_tables: Per vision block from 1 on (key: its number), (H, 1, 2): the bias of local
            and of context keys.
        prompts: (n, W), the learnable prompt vectors.
        prompting: Per text block that is preceded by it (key: its number), a ``VideoPrompting``.
    """

    def __init__(self, heads: list[int], prompts: Tensor, prompting: dict[int, nn.Module]) -> None:
        """Start the tables; the rest comes built.

        Args:
            heads: H of each vision block.
            prompts: (n, W), the start of the prompt vectors.
            prompting: Layers by text block.
        """
        super().__init__()
        tables = {str(i): torch.empty(h, 1, 2) for i, h in enumerate(heads) if i > 0}
        for table in tables.values():
            nn.init.trunc_normal_(table, std=0.02)
        self.bias_tables = nn.ParameterDict(tables)
        self.prompts = nn.Parameter(prompts.detach().clone())
        self.prompting = nn.ModuleDict({str(i): layer for i, layer in prompting.items()})

    def tables(self) -> dict[int, Tensor]:
        """The bias tables by vision block."""
        return {int(name): table for name, table in self.bias_tables.items()}

    def levels(self) -> tuple[int, ...]:
        """Text blocks that are preceded by prompting, ascending."""
        return tuple(sorted(int(name) for name in self.prompting))


def start_prompts(embedding: nn.Embedding, phrase_ids: list[int], n: int) -> Tensor:
    """(n, W): the embeddings of the phrase, then normal noise of standard deviation 0.02."""
    start = torch.empty(n, embedding.embedding_dim)
    nn.init.normal_(start, std=0.02)
    prefix = phrase_ids[:n]
    if prefix:
        ids = torch.tensor(prefix, device=embedding.weight.device)
        start[: len(prefix)] = F.embedding(ids, embedding.weight).detach().float().cpu()
    return start


@dataclass(frozen=True)
class VisionOutput:
    """Output of the image tower for B videos.

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
    tokens_of_level: dict[int, Tensor] = {}
    last = len(view.blocks) - 1
    for i, block in enumerate(view.blocks):
        table = tables[i] if context is not None else None
        step = _Step(block, config, batch, n_frames, table, context, i, record)
        if i == last and record is None:
            x, context = step.last(x, with_context=i in levels)
        else:
            x, context = block_view.recomputed_block(step.full, x)
        if i in levels and context is not None:
            tokens_of_level[i] = view.joint(context)
    return VisionOutput(view.joint(x[:, 0]).unflatten(0, (batch, n_frames)), tokens_of_level)


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
        """``full`` for the class rows alone: (B T, 1, D), and the context if it is wanted."""
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


@dataclass(frozen=True)
class TcClipNetwork:
    """Views of a CLIP's towers, TC-CLIP's own parts and the settings.

    Attributes:
        vision: Image tower.
        text: Text tower.
        parts: The parameters TC-CLIP adds.
        config: Settings.
        log_scale: Gives the log of the factor from cosine to logit.
    """

    vision: VisionView
    text: TextView
    parts: TcClipParts
    config: TcClipConfig
    log_scale: Callable[[], Tensor]

    def encode(
        self, videos: Tensor, *, context: bool = True, record: Record | None = None
    ) -> VisionOutput:
        """Videos (B, T, 3, height, width) to frame features and, if wanted, context tokens."""
        levels = self.parts.levels() if context else ()
        return encode(self.vision, self.parts.tables(), self.config, videos, levels, record)

    def classes(self, ids: Tensor, record: Record | None = None) -> ClassSet:
        """Token ids (C, L) to what every video shares."""
        first = self.parts.levels()[0]
        return text.class_set(self.text, self.parts.prompts, ids, first, record)

    def conditioned(
        self,
        classes: ClassSet,
        context: dict[int, Tensor] | None,
        record: Record | None = None,
    ) -> Tensor:
        """Class features (B, C, E) for the context of B videos; not normalised."""
        if context is not None and self.config.stop_gradient:
            context = {level: tokens.detach() for level, tokens in context.items()}
        layers = {level: self.parts.prompting[str(level)] for level in self.parts.levels()}
        return text.conditioned(self.text, layers, classes, context, record)

    def logits(self, videos: Tensor, ids: Tensor) -> Tensor:
        """Videos (B, T, 3, height, width) and prompts (C, L) to logits (B, C)."""
        encoded = self.encode(videos)
        return self.scores(encoded.frames, self.conditioned(self.classes(ids), encoded.context))

    def scores(self, frames: Tensor, words: Tensor) -> Tensor:
        """Frame features (B, T, E) and class features (B, C, E) to logits (B, C)."""
        video = F.normalize(frames.mean(dim=1), dim=-1)
        names = F.normalize(words, dim=-1)
        return self.log_scale().exp() * torch.einsum("be,bce->bc", video, names)


def build(
    vision_view: VisionView,
    text_view: TextView,
    config: TcClipConfig,
    joint: int,
    phrase_ids: list[int],
    log_scale: Callable[[], Tensor],
) -> TcClipNetwork:
    """A TC-CLIP at its start: bias tables near 0, prompts from the phrase, copied text blocks.

    Args:
        vision_view: Image tower.
        text_view: Text tower.
        config: Settings.
        joint: E.
        phrase_ids: Token ids of the words of the phrase.
        log_scale: Gives the log of the factor from cosine to logit.
    """
    levels = config.levels(len(text_view.blocks), len(vision_view.blocks))
    parts = TcClipParts(
        heads=[block.heads for block in vision_view.blocks],
        prompts=start_prompts(text_view.token_embedding, phrase_ids, config.n_prompts),
        prompting={i: VideoPrompting(text_view.blocks[i], text_view.width, joint) for i in levels},
    )
    return TcClipNetwork(vision_view, text_view, parts, config, log_scale)

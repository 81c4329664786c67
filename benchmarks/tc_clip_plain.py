"""TC-CLIP as its paper's formulas read, with no shortcut: what the timings compare with.

Full attention matrices, every row of every block, and all classes through the whole text tower for
each video. Written from the formulas; tests hold the fast implementation against it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.methods.tc_clip.network import TcClipConfig, TcClipParts, merge_schedule


def encode_videos(
    clip: Any, parts: TcClipParts, config: TcClipConfig, videos: Tensor
) -> tuple[Tensor, dict[int, Tensor]]:
    """(B, T, 3, h, w) to frame features (B, T, E) and the context (B, k, E) of every block."""
    tower = clip.visual
    batch, n_frames = videos.shape[:2]
    x = tower.conv1(videos.flatten(0, 1)).flatten(2).transpose(1, 2)
    first = tower.class_embedding.expand(len(x), 1, -1)
    x = tower.ln_pre(torch.cat([first, x], dim=1) + tower.positional_embedding)
    x = x.unflatten(0, (batch, n_frames))
    context, found = None, {}
    for i, block in enumerate(tower.transformer.resblocks):
        table = parts.tables()[i] if i else None
        x, context = _vision_block(block, table, config, x, context)
        found[i] = tower.ln_post(context) @ tower.proj
    return tower.ln_post(x[:, :, 0]) @ tower.proj, found


def _vision_block(
    block: Any, table: Tensor | None, config: TcClipConfig, x: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    _, n_frames, n_local, width = x.shape
    heads = block.attn.num_heads
    keys = x
    if context is not None:
        keys = torch.cat([x, context[:, None].expand(-1, n_frames, -1, -1)], dim=2)
    weights = block.attn.in_proj_weight.chunk(3)
    biases = block.attn.in_proj_bias.chunk(3)
    query, key, value = (
        F.linear(block.ln_1(source), w, b).unflatten(-1, (heads, -1)).transpose(2, 3)
        for source, w, b in zip((x, keys, keys), weights, biases, strict=True)
    )
    logits = query @ key.transpose(-1, -2) * (width // heads) ** -0.5
    if table is not None and context is not None:
        bias = torch.cat(
            [
                table[..., 0].expand(-1, n_local),
                table[..., 1].expand(-1, context.shape[1]),
            ],
            dim=1,
        )
        logits = logits + bias[:, None].expand(-1, n_local, -1)
    attention = logits.softmax(dim=-1)
    mixed = (attention @ value).transpose(2, 3).flatten(3)
    x = x + block.attn.out_proj(mixed)
    scores = attention[:, :, :, 0].mean(dim=2)[..., 1:n_local]
    count = max(1, int((n_local - 1) * config.seed_fraction))
    picked = scores.argsort(dim=-1, descending=True, stable=True)[..., :count]
    seeds = x[:, :, 1:].gather(2, picked[..., None].expand(-1, -1, -1, width)).flatten(1, 2)
    merged = torch.stack([_merge(one, config.context_tokens, config.merge_step) for one in seeds])
    merged = merged + block.mlp(block.ln_2(merged))
    return x + block.mlp(block.ln_2(x)), merged


def _merge(tokens: Tensor, target: int, step: int) -> Tensor:
    sizes = torch.ones(len(tokens))
    for removed in merge_schedule(len(tokens), target, step):
        unit = tokens / tokens.norm(dim=-1, keepdim=True)
        score, partner = (unit[0::2] @ unit[1::2].T).max(dim=-1)
        order = score.argsort(descending=True, stable=True)
        left, right = tokens[0::2], tokens[1::2]
        left_sizes, right_sizes = sizes[0::2], sizes[1::2]
        gone, kept = order[:removed], order[removed:]
        sums = (right * right_sizes[:, None]).index_add(
            0, partner[gone], left[gone] * left_sizes[gone, None]
        )
        right_sizes = right_sizes.index_add(0, partner[gone], left_sizes[gone])
        tokens = torch.cat([left[kept], sums / right_sizes[:, None]])
        sizes = torch.cat([left_sizes[kept], right_sizes])
    return tokens


def encode_classes(clip: Any, parts: TcClipParts, ids: Tensor, context: Tensor) -> Tensor:
    """Token ids (C, L) and one video's context per level to (C, E): the whole tower."""
    n = len(parts.prompts)
    length = ids.shape[1]
    x = clip.token_embedding(ids)
    x = torch.cat([x[:, :1], parts.prompts.expand(len(ids), -1, -1), x[:, 1 + n :]], dim=1)
    x = x + clip.positional_embedding[:length]
    mask = clip.attn_mask[:length, :length]
    for i, block in enumerate(clip.transformer.resblocks):
        if i in parts.levels():
            layer = parts.prompting[str(i)]
            seen = context[i].expand(len(ids), -1, -1)
            x = torch.cat([x[:, :1], layer(x[:, 1 : 1 + n], seen), x[:, 1 + n :]], dim=1)
        x = block(x, attn_mask=mask)
    x = clip.ln_final(x)[torch.arange(len(ids)), ids.argmax(dim=-1)]
    return x @ clip.text_projection


def logits(
    clip: Any, parts: TcClipParts, config: TcClipConfig, videos: Tensor, ids: Tensor
) -> Tensor:
    """Videos (B, T, 3, h, w) and prompts (C, L) to logits (B, C), one video after the other."""
    frames, context = encode_videos(clip, parts, config, videos)
    rows = []
    for i, video in enumerate(F.normalize(frames.mean(dim=1), dim=-1)):
        seen = {level: context[level][i] for level in parts.levels()}
        names = F.normalize(encode_classes(clip, parts, ids, seen), dim=-1)
        rows.append(clip.logit_scale.exp() * names @ video)
    return torch.stack(rows)

"""EZ-CLIP as its paper's formulas read, with no shortcut: what the timings compare with.

The prompt is concatenated to the frames and sliced off again, every row of every block is computed,
and every sample's text goes through the whole text tower. Written from the formulas; tests hold the
fast implementation against it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.methods.ez_clip.network import EzClipBottleneck, EzClipParts


def encode_videos(clip: Any, parts: EzClipParts, videos: Tensor) -> Tensor:
    """(B, T, 3, h, w) to frame features (B, T, E)."""
    tower = clip.visual
    batch, n_frames = videos.shape[:2]
    x = tower.conv1(videos.flatten(0, 1)).flatten(2).transpose(1, 2)
    x = torch.cat([tower.class_embedding.expand(len(x), 1, -1), x], dim=1)
    x = (x + tower.positional_embedding).unflatten(0, (batch, n_frames))
    if parts.temporal_embedding is not None:
        x = x + parts.temporal_embedding[:, None]
    x = tower.ln_pre(x)
    for i, block in enumerate(tower.transformer.resblocks):
        if str(i) in parts.time_adapters:
            x = x + _bottleneck(parts.time_adapters[str(i)], _along_time(block, x))
        if parts.temporal_prompts is not None and i < len(parts.temporal_prompts):
            query = x.mean(dim=2) + parts.temporal_prompts[i]
            prompt = _attention(block, query)
            y = torch.cat([x, prompt[:, :, None]], dim=2)
            y = y + _attention(block, y.flatten(0, 1)).view(y.shape)
            x = y[:, :, :-1]
        else:
            x = x + _attention(block, x.flatten(0, 1)).view(x.shape)
        if str(i) in parts.visual_adapters:
            x = x + _bottleneck(parts.visual_adapters[str(i)], x)
        x = x + block.mlp(block.ln_2(x))
    return tower.ln_post(x[:, :, 0]) @ tower.proj


def encode_texts(clip: Any, parts: EzClipParts, ids: Tensor) -> Tensor:
    """Token ids (C, L) to (C, E): the whole tower, to the last padding."""
    length = ids.shape[1]
    x = clip.token_embedding(ids) + clip.positional_embedding[:length]
    mask = clip.attn_mask[:length, :length]
    for i, block in enumerate(clip.transformer.resblocks):
        x = x + _attention(block, x, mask)
        if str(i) in parts.text_adapters:
            x = x + _bottleneck(parts.text_adapters[str(i)], x)
        x = x + block.mlp(block.ln_2(x))
    x = clip.ln_final(x)[torch.arange(len(ids)), ids.argmax(dim=-1)]
    return x @ clip.text_projection


def losses(
    clip: Any, parts: EzClipParts, videos: Tensor, labels: list[int], ids: Tensor
) -> dict[str, Tensor]:
    """The loss of one label a video, a text encoded for each of them."""
    frames = encode_videos(clip, parts, videos)
    words = encode_texts(clip, parts, ids[labels])
    scale = clip.logit_scale.exp()
    z = scale * F.normalize(frames.mean(dim=1), dim=-1) @ F.normalize(words, dim=-1).T
    same = torch.tensor([[float(a == b) for b in labels] for a in labels])
    q = (10 * same).softmax(dim=-1)
    image, text = ((q * (q.log() - y.log_softmax(dim=-1))).sum() / len(q) for y in (z, z.T))
    last = frames.shape[1] - 1
    steps = [frames[:, min(t + 1, last)] - frames[:, max(t - 1, 0)] for t in range(last + 1)]
    change = torch.stack(steps).abs().mean() / 2
    centred = frames - frames.mean(dim=1, keepdim=True)
    variance = (centred.square().sum(dim=1) / last).mean()
    motion = 1 / (change + variance + 1)
    return {
        "image_kl": image,
        "text_kl": text,
        "motion": motion,
        "total": (image + text) / 2 + motion,
    }


def _attention(block: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
    heads = block.attn.num_heads
    normed = block.ln_1(x)
    projected = F.linear(normed, block.attn.in_proj_weight, block.attn.in_proj_bias)
    query, key, value = (
        part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in projected.chunk(3, dim=-1)
    )
    logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    logits = logits if mask is None else logits + mask
    return block.attn.out_proj((logits.softmax(dim=-1) @ value).transpose(1, 2).flatten(2))


def _along_time(block: Any, x: Tensor) -> Tensor:
    """Each token position of each video (B, T, L, D) by itself."""
    places = [
        torch.stack([_attention(block, video[:, i][None])[0] for i in range(x.shape[2])], dim=1)
        for video in x
    ]
    return torch.stack(places)


def _bottleneck(adapter: EzClipBottleneck, x: Tensor) -> Tensor:
    return adapter.up(F.gelu(adapter.down(x)))

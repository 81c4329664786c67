"""EZ-CLIP's image tower: frames see each other through one extra token per frame and block.

The extra token of a frame is what attention along time makes of the mean of the frame's tokens
and of a learned prompt (arXiv 2312.08010). It is only looked at, and what a block makes of it is
thrown away: it keeps one place behind the frame's own tokens and is overwritten there.

Letters: B videos, T frames, L tokens of a frame, D width, E joint width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.ez_clip.blocks import Drop, attend, attention, drops, finish
from vlar.adapters.ez_clip.config import EzClipConfig
from vlar.adapters.ez_clip.parts import TrainedParts, pick
from vlar.adapters.trainable import drawn_once
from vlar.encoders.clip.block_view import BlockView, VisionView, add

Record = Callable[[str, Tensor], None]


def encode(
    view: VisionView,
    parts: TrainedParts,
    config: EzClipConfig,
    videos: Tensor,
    record: Record | None = None,
    *,
    training: bool = False,
) -> Tensor:
    """Run the tower.

    Args:
        view: The CLIP image tower.
        parts: Prompts and adapters.
        config: Settings.
        videos: (B, T, 3, height, width), normalised pixels.
        record: Called with a name and a tensor at each intermediate result; tests use it. The
            last block is then computed in full.
        training: Leave out what the settings say is dropped in training.

    Returns:
        (B, T, E), not normalised.
    """
    batch, n_frames = videos.shape[:2]
    x = _tokens(view, parts, videos)
    note = record or _ignore
    note("ln_pre.out", x)
    n_tokens = x.shape[1]
    first = torch.zeros(len(x), dtype=torch.long, device=x.device)
    prompts = parts.prompts(n_frames)
    dropped = drops(config.drop if training else 0.0, len(view.blocks), batch)
    for i, (block, drop) in enumerate(zip(view.blocks, dropped, strict=True)):
        time = pick(parts.time_adapters, i)
        if time is not None:
            seen = _along_time(block, x, batch, drop, mixed=config.mix_videos)
            x = add(x, time(seen.flatten(0, 1)))
        if i < len(prompts):
            prompt = prompts[i]
            if training:
                with drawn_once():
                    prompt = F.dropout(prompt, config.prompt_dropout)
            frames = x[:, :n_tokens].mean(dim=1).unflatten(0, (batch, n_frames))
            query = (frames + prompt).to(x.dtype)
            token = attention(block, query, drop)
            note(f"prompt{i}.query", query)
            note(f"prompt{i}.token", token)
            x = _with_token(x, n_tokens, token.flatten(0, 1))
        elif x.shape[1] > n_tokens:
            x = x[:, :n_tokens].contiguous()
        read = first if record is None and i == len(view.blocks) - 1 else None
        x = finish(block, pick(parts.visual_adapters, i), attend(block, x, read, drop), drop)
        note(f"block{i}.out", x[:, :n_tokens])
    return view.joint(x[:, 0]).unflatten(0, (batch, n_frames))


def _tokens(view: VisionView, parts: TrainedParts, videos: Tensor) -> Tensor:
    """(B T, L, D), what the first block reads."""
    x = view.stem(videos.flatten(0, 1))
    moments = parts.moments(videos.shape[1])
    if moments is not None:
        x = x + moments.to(x.dtype).repeat(len(videos), 1)[:, None]
    x = view.ln_pre(x)
    return x.float() if torch.is_autocast_enabled(x.device.type) else x


def _with_token(x: Tensor, n_tokens: int, token: Tensor) -> Tensor:
    """Frames (B T, L or L + 1, D) with their extra token (B T, D) behind their own."""
    if torch.is_grad_enabled() or x.shape[1] == n_tokens:
        return torch.cat([x[:, :n_tokens], token[:, None].to(x.dtype)], dim=1)
    x[:, n_tokens] = token
    return x


def _along_time(
    block: BlockView, x: Tensor, batch: int, drop: Drop | None, *, mixed: bool
) -> Tensor:
    """Attention along time per token position, without residual; (B, T, L, D).

    ``mixed`` gives (T, B, L, D) instead, which its caller reads as if it were video first.
    """
    places = x.unflatten(0, (batch, -1)).transpose(1, 2)  # (B, L, T, D)
    seen = attention(block, places.flatten(0, 1), drop).view(places.shape)
    return seen.permute(2, 0, 1, 3) if mixed else seen.transpose(1, 2)


def _ignore(name: str, tensor: Tensor) -> None:
    del name, tensor

"""TC-CLIP's text tower, with what does not depend on the video computed once per class set.

A causal tower makes three shortcuts exact. Start token and prompts are the same for all classes;
blocks before the first prompting are the same for all videos; of the last block only the
end-of-text row is read, and its attention splits into a part over the class's own tokens (kept)
and a part over the few prompt tokens (fresh for each video).

Letters: B videos, C classes, n prompts, S tokens behind the prompts, W width, H heads, E joint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.encoders.clip.block_view import BlockView, TextView

Record = Callable[[str, Tensor], None]


@dataclass(frozen=True)
class LastRows:
    """The last block's end-of-text rows, as far as they do not depend on the prompts.

    Attributes:
        residual: (1 or B, C, W), the rows that enter the block.
        query: (1 or B, C, H, W / H).
        weight: (1 or B, C, H), log of the summed exponents over the class's own tokens.
        value: (1 or B, C, H, W / H), their weighted mean value.
    """

    residual: Tensor
    query: Tensor
    weight: Tensor
    value: Tensor


@dataclass(frozen=True)
class ClassSet:
    """C prompts, run up to the first block that depends on the video.

    Attributes:
        prefix: (1, 1 + n, W), start token and prompts.
        suffix: (1, C, S, W), the rest, cut behind the last end-of-text token.
        end: (C,), the end-of-text token's place in the suffix.
        last: The rows of the last block where it is the only one that depends on the video.
    """

    prefix: Tensor
    suffix: Tensor
    end: Tensor
    last: LastRows | None


def class_set(
    view: TextView,
    prompts: Tensor,
    ids: Tensor,
    first_level: int,
    record: Record | None = None,
) -> ClassSet:
    """Run the class prompts as far as no video is needed.

    Args:
        view: The CLIP text tower.
        prompts: (n, W), the learnable vectors; they replace tokens 1 to n.
        ids: (C, L) token ids.
        first_level: The first text block that is preceded by prompting.
        record: Called with intermediate results; tests use it.
    """
    n = len(prompts)
    ids, end = view.cut(ids)
    x = view.token_embedding(ids).to(prompts.dtype)
    places = view.positions[: ids.shape[1]].to(prompts.dtype)
    prefix = torch.cat([x[:1, :1], prompts[None]], dim=1) + places[: 1 + n]
    suffix = (x[:, 1 + n :] + places[1 + n :])[None]
    for i, block in enumerate(view.blocks[:first_level]):
        prefix, suffix = _block(block, prefix, suffix)
        if record is not None:
            record(f"block{i}.prefix", prefix.clone())
            record(f"block{i}.suffix", suffix.clone())
    end = end - (1 + n)
    only = first_level == len(view.blocks) - 1
    last = _last_rows(view.blocks[-1], suffix, end) if only else None
    return ClassSet(prefix, suffix, end, last)


def conditioned(
    view: TextView,
    layers: Mapping[int, nn.Module],
    classes: ClassSet,
    context: Mapping[int, Tensor] | None,
    record: Record | None = None,
) -> Tensor:
    """Class features for each video.

    Args:
        view: The CLIP text tower.
        layers: The prompting layers by text block.
        classes: From ``class_set``, run up to the first of these blocks.
        context: Per such block the context tokens (B, k, E) of the videos; None leaves the
            prompts as they are and gives B = 1.
        record: Called with intermediate results; tests use it.

    Returns:
        (B, C, E), not normalised.
    """
    prefix, suffix = classes.prefix, classes.suffix
    if context is not None:
        batch = len(next(iter(context.values())))
        prefix = prefix.expand(batch, -1, -1)
    for i in range(min(layers), len(view.blocks)):
        if context is not None and i in layers:
            prompts = layers[i](prefix[:, 1:], context[i])
            prefix = torch.cat([prefix[:, :1], prompts], dim=1)
            if record is not None:
                record(f"prompting{i}", prompts.clone())
        if i < len(view.blocks) - 1:
            prefix, suffix = _block(view.blocks[i], prefix, suffix)
    block = view.blocks[-1]
    rows = classes.last or _last_rows(block, suffix, classes.end)
    return view.joint(block.feed(_finish(block, rows, prefix)))


def _block(block: BlockView, prefix: Tensor, suffix: Tensor) -> tuple[Tensor, Tensor]:
    """One causal block on (B, 1 + n, W) and (1 or B, C, S, W); the suffix becomes (B, C, S, W)."""
    batch, n_classes, length = len(prefix), suffix.shape[1], suffix.shape[2]
    head, (key, value) = _prefix_keys(block, prefix)
    new_prefix = block.feed(prefix + block.out_proj(_causal(head, key, value)))

    suffix_rows = block.project(block.ln_1(suffix)).expand(batch, -1, -1, -1).flatten(0, 1)
    query, own_key, own_value = (block.split_heads(part) for part in suffix_rows.chunk(3, dim=-1))
    key, value = (
        torch.cat([part.repeat_interleave(n_classes, dim=0), mine], dim=2)
        for part, mine in ((key, own_key), (value, own_value))
    )
    mask = torch.ones(length, prefix.shape[1] + length, dtype=torch.bool, device=suffix.device)
    mask = mask.tril(prefix.shape[1])
    change = block.mix(query, key, value, mask).unflatten(0, (batch, n_classes))
    return new_prefix, block.feed(suffix + change)


def _prefix_keys(block: BlockView, prefix: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    parts = block.project(block.ln_1(prefix)).chunk(3, dim=-1)
    query, key, value = (block.split_heads(part) for part in parts)
    return query, (key, value)


def _causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return mixed.transpose(1, 2).flatten(2)


def _last_rows(block: BlockView, suffix: Tensor, end: Tensor) -> LastRows:
    """Attention of the end-of-text rows over their own class's tokens (1 or B, C, S, W)."""
    classes = torch.arange(len(end), device=suffix.device)
    normed = block.ln_1(suffix)
    query = block.project(normed[:, classes, end], 0, 1).unflatten(-1, (block.heads, -1))
    key, value = (
        part.unflatten(-1, (block.heads, -1)) for part in block.project(normed, 1, 3).chunk(2, -1)
    )
    logits = torch.einsum("bchd,bcshd->bchs", query, key) * query.shape[-1] ** -0.5
    later = torch.arange(suffix.shape[2], device=suffix.device) > end[:, None]
    logits = logits.float().masked_fill(later[:, None], float("-inf"))
    mixed = torch.einsum("bchs,bcshd->bchd", logits.softmax(dim=-1).to(value.dtype), value)
    return LastRows(suffix[:, classes, end], query, logits.logsumexp(dim=-1), mixed)


def _finish(block: BlockView, rows: LastRows, prefix: Tensor) -> Tensor:
    """Add the attention of the rows to the prefix (B, 1 + n, W): the residual (B, C, W)."""
    key, value = (
        part.unflatten(-1, (block.heads, -1))
        for part in block.project(block.ln_1(prefix), 1, 3).chunk(2, dim=-1)
    )
    batch = len(prefix)
    query = rows.query.expand(batch, -1, -1, -1)
    logits = torch.einsum("bchd,bphd->bchp", query, key) * query.shape[-1] ** -0.5
    weights = rows.weight.expand(batch, -1, -1)[..., None]
    # One softmax over both parts: the part over the class's own tokens enters as one term.
    share = torch.cat([logits.float(), weights], dim=-1).softmax(dim=-1).to(value.dtype)
    mixed = torch.einsum("bchp,bphd->bchd", share[..., :-1], value)
    mixed = mixed + share[..., -1:] * rows.value
    return rows.residual + block.out_proj(mixed.flatten(2))

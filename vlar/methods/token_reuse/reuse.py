"""A ViT over the frames of a clip that computes only the patches that changed.

Letters: n clips, T frames, B frames at a time, L tokens (P patches and the class token), D width of
the tower, K patches that are computed, E joint width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.encoders.clip.block_view import BlockView, VisionView, add

#: Tokens now and when they were last computed, (B, P, D) each, to (B, P): how much they changed.
Change = Callable[[Tensor, Tensor], Tensor]


def reuse_cost(layer: int, depth: int, kept: int, patches: int) -> float:
    """Share of a full frame that a frame with reused patches costs, 0 to 1.

    The first layers are computed for all tokens, the others for the class token and K patches:
    ``l / L + (1 - l / L) * (K + 1) / (P + 1)``. The comparison of the patches is left out: P * D
    operations, about 1e-5 of a ViT-B/16.

    Args:
        layer: l, layers that are computed for all tokens.
        depth: L, layers of the tower.
        kept: K.
        patches: P.

    >>> round(reuse_cost(4, 12, 49, 196), 6)
    0.502538
    """
    early = layer / depth
    return early + (1 - early) * (kept + 1) / (patches + 1)


def turned(now: Tensor, before: Tensor) -> Tensor:
    """``1 - cos`` of each token now and before: (B, P, D) twice to (B, P)."""
    return 1 - F.cosine_similarity(now, before, dim=-1)


def reused_features(
    vision: VisionView,
    images: Tensor,
    layer: int,
    kept: int,
    every: int,
    *,
    threshold: float = 0.0,
    change: Change = turned,
) -> Tensor:
    """Features of frames of which later layers compute the class token and K patches only.

    Every G-th frame is computed whole. In between, the K patches with the largest change since they
    were last computed run through the layers from ``layer`` on; they attend to the keys and values
    of all patches, old ones included. Frames that are computed whole start groups, which do not
    depend on each other and run together.

    Args:
        vision: The tower.
        images: (n, T, 3, height, width), normalised.
        layer: Layers that are computed for all tokens.
        kept: K, from 1 to P.
        every: G.
        threshold: A patch that changed by no more keeps its output, 0 to 2.
        change: What ranks the patches.

    Returns:
        (n, T, E), not normalised, without gradients.
    """
    n_frames = images.shape[1]
    with torch.no_grad():
        x = vision.embed(images.flatten(0, 1))
        for block in vision.blocks[:layer]:
            x = block.whole(x)
        x = x.unflatten(0, images.shape[:2]).transpose(0, 1)  # T, n, L, D
        memory = x[::every].flatten(0, 1).clone()
        later, stored = vision.blocks[layer:], list[Tensor]()
        rows = [_whole(later, memory.clone(), stored)]
        for step in range(1, min(every, n_frames)):
            now = x[step::every].flatten(0, 1)
            old = memory[: len(now)]  # the last group may be shorter
            moved = change(now[:, 1:], old[:, 1:])
            size, picked = moved.topk(kept, dim=1)
            picked, fresh = F.pad(picked + 1, (1, 0)), F.pad(size > threshold, (1, 0), value=True)
            rows.append(_some(later, now, old, stored, picked, None if not threshold else fresh))
        # Rows of a step are its groups, one clip after the other.
        groups = [vision.joint(row).unflatten(0, (-1, x.shape[1])) for row in rows]
        features = groups[0].new_empty(n_frames, *groups[0].shape[1:])
        for step, part in enumerate(groups):
            features[step::every] = part
    return features.transpose(0, 1)


def _whole(blocks: tuple[BlockView, ...], x: Tensor, stored: list[Tensor]) -> Tensor:
    """Class tokens (B, D) of whole frames (B, L, D); keys and values (B, L, 2D) are stored."""
    for block in blocks:
        query, pairs = _project(block, x)
        stored.append(pairs)
        x = _mix(block, x, query, pairs, last=block is blocks[-1])
    return x[:, 0]


def _some(
    blocks: tuple[BlockView, ...],
    now: Tensor,
    old: Tensor,
    stored: list[Tensor],
    picked: Tensor,
    fresh: Tensor | None,
) -> Tensor:
    """Class tokens (B, D) of frames of which some tokens are computed.

    Args:
        blocks: The later layers.
        now: (B, L, D) tokens of the frames.
        old: (B, L, D) tokens when they were last computed; picked ones are replaced.
        stored: Keys and values (at least B, L, 2D) of each layer; picked ones are replaced.
        picked: (B, R) tokens to compute, the class token first.
        fresh: (B, R) False for a picked token whose stored values stay; None where all change.
    """
    x = _gather(now, picked)
    _put(old, picked, x, fresh)
    for block, pairs in zip(blocks, (rows[: len(x)] for rows in stored), strict=True):
        query, new = _project(block, x)
        _put(pairs, picked, new, fresh)
        x = _mix(block, x, query, pairs, last=block is blocks[-1])
    return x[:, 0]


def _project(block: BlockView, x: Tensor) -> tuple[Tensor, Tensor]:
    """Queries (B, R, D), and keys with values (B, R, 2D) in memory of their own."""
    query, pairs = block.project(block.ln_1(x)).split((x.shape[-1], 2 * x.shape[-1]), dim=-1)
    return query, pairs.contiguous()


def _mix(block: BlockView, x: Tensor, query: Tensor, pairs: Tensor, *, last: bool) -> Tensor:
    """Attention and MLP; the last layer is read at its class token alone."""
    if last:
        x, query = x[:, :1].contiguous(), query[:, :1]
    key, value = (block.split_heads(part) for part in pairs.chunk(2, dim=-1))
    return block.feed(add(x, block.mix(block.split_heads(query), key, value)))


def _gather(table: Tensor, rows: Tensor) -> Tensor:
    return table.gather(1, rows[..., None].expand(-1, -1, table.shape[-1]))


def _put(table: Tensor, rows: Tensor, new: Tensor, fresh: Tensor | None) -> None:
    """Replace rows (B, R) of a table (B, L, W) by new ones (B, R, W) where they are fresh."""
    if fresh is not None:
        new = torch.where(fresh[..., None], new, _gather(table, rows))
    table.scatter_(1, rows[..., None].expand(-1, -1, table.shape[-1]), new)

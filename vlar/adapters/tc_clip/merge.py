"""Seeds of the frames and their merging into context tokens.

Bipartite soft matching in repeated steps: TC-CLIP, section 3 of the paper (arXiv 2404.09490), after
token merging (arXiv 2210.09461). Every choice is made in float32 and exact ties go to the earlier
token, so a video gives the same tokens alone or in a batch.

Letters: B videos, n tokens, k context tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses


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
        left, right = sums[:, 0::2], sums[:, 1::2]
        # Cosines do not change when a mean is replaced by its sum, so nothing is divided here.
        score, partner = (unit[:, 0::2] @ unit[:, 1::2].transpose(1, 2)).max(dim=-1)
        order = score.argsort(dim=-1, descending=True, stable=True)
        merged, kept = order[:, :removed], order[:, removed:]
        target_of = partner.gather(1, merged)

        into = target_of[..., None].expand(-1, -1, width)
        from_ = merged[..., None].expand(-1, -1, width)
        right = right.scatter_add(1, into, left.gather(1, from_))
        left = left.gather(1, kept[..., None].expand(-1, -1, width))
        sums = torch.cat([left, right], dim=1)
        group = _moved(kept, merged, target_of, sums.shape[1], unit.shape[1]).gather(1, group)
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

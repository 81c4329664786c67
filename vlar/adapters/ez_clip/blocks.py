"""One block of a tower with what EZ-CLIP puts into it.

Letters: N sequences, L tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.ez_clip.parts import Bottleneck
from vlar.encoders.clip.block_view import BlockView

_ROWS = 512  # rows at a time on a CPU: what lies between two products then stays in the cache


@dataclass(frozen=True)
class Drop:
    """What a block leaves out in training.

    Attributes:
        rate: Share of attention weights, and of samples whose residual branch is left out. The
            original leaves out token positions of the whole batch instead, which its formulas do
            not mean.
        samples: Videos or texts; each owns an equal number of sequences, one after the other.
    """

    rate: float
    samples: int

    def path(self, change: Tensor) -> Tensor:
        """(N, L, D), zero for some samples and larger for the others."""
        keep = 1 - self.rate
        kept = (torch.rand(self.samples, device=change.device) < keep).to(change.dtype) / keep
        return change * kept.repeat_interleave(len(change) // self.samples)[:, None, None]


def drops(most: float, depth: int, samples: int) -> list[Drop | None]:
    """What each of ``depth`` blocks leaves out: nothing in the first, ``most`` in the last."""
    rates = [most * i / max(1, depth - 1) for i in range(depth)]
    return [Drop(rate, samples) if rate else None for rate in rates]


def attention(
    block: BlockView, x: Tensor, drop: Drop | None = None, *, causal: bool = False
) -> Tensor:
    """The block's attention of ``ln_1(x)``, without its residual; (N, L, D)."""
    parts = block.project(block.ln_1(x)).chunk(3, dim=-1)
    query, key, value = (block.split_heads(part) for part in parts)
    rate = drop.rate if drop else 0.0
    mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=rate, is_causal=causal)
    change = block.out_proj(mixed.transpose(1, 2).flatten(2))
    return drop.path(change) if drop else change


def attend(
    block: BlockView,
    x: Tensor,
    rows: Tensor | None = None,
    drop: Drop | None = None,
    *,
    causal: bool = False,
) -> Tensor:
    """``x + attention(x)``: (N, L, D), or (N, 1, D) for one row (N,) of each sequence."""
    if drop is None:
        if rows is None:
            return block.attend(x, causal=causal)
        return block.attend_rows(x, rows, causal=causal)
    x = x + attention(block, x, drop, causal=causal)
    return x if rows is None else x[torch.arange(len(x), device=x.device), rows][:, None]


def finish(
    block: BlockView, adapter: Bottleneck | None, x: Tensor, drop: Drop | None = None
) -> Tensor:
    """The adapter with its skip, then the MLP with its residual; (N, L, D).

    Where no gradient is wanted ``x`` itself may be overwritten.
    """
    if drop is not None:
        x = x if adapter is None else x + adapter(x)
        return x + drop.path(block.mlp(block.ln_2(x)))
    if adapter is None:
        return block.feed(x)
    if torch.is_grad_enabled() or x.device.type != "cpu":
        return block.feed(x + adapter(x))
    flat = x.reshape(-1, x.shape[-1])
    for part in flat.tensor_split(-(-len(flat) // _ROWS)):  # equal parts, rounded up
        part.add_(adapter(part))
        block.feed(part)
    return flat.view(x.shape)

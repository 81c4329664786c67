"""``mixer``: each sensor takes in what the others hold at every step (M-Mixer, Lee 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vlar.methods.fusion.tokens import Fused, FusionBlock, FusionConfig, InputsOfPart, Seen


class DeviceMixer(FusionBlock):
    """Learned queries of each sensor gather from the others; a recurrent unit takes that in.

    ``f_t = V v_t + Attn(v_t, c)``, ``i_t, r_t = sigmoid(G [f_t, h])``,
    ``h' = tanh(X f_t + r_t U h)``, ``h = (1 - i_t) h + i_t h'``. A sensor alone has no
    complement ``c``, and its second term is 0. The answer is the mean over sensors, so their order
    does not matter.
    """

    def __init__(self, config: FusionConfig, parts: Sequence[InputsOfPart]) -> None:
        super().__init__(config, parts)
        width, heads = config.width, config.heads
        self.queries = nn.Parameter(torch.randn(len(parts), config.memory, width))
        self.gather = nn.MultiheadAttention(width, heads, batch_first=True)
        self.take = nn.MultiheadAttention(width, heads, batch_first=True)
        self.own = nn.Linear(width, width)
        self.gates, self.new = nn.Linear(2 * width, 2 * width), nn.Linear(width, width)
        self.old = nn.Linear(width, width, bias=False)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, seen: Seen) -> Fused:
        """Mean of the last states of the kept parts."""
        rows, masks = seen.rows, seen.kept
        pooled = [self.taken(rows, masks, number) for number in range(len(self.parts))]
        inputs = self.own(rows) + torch.stack(pooled, dim=1)
        last = self.unit(inputs.flatten(0, 1)).unflatten(0, rows.shape[:2])
        weight = masks.to(rows)[..., None]
        return Fused((last * weight).sum(dim=1) / weight.sum(dim=1), {})

    def taken(self, rows: Tensor, kept: Tensor, number: int) -> Tensor:
        """Answer of the others to part ``number`` at each step: (N, R, W); 0 without others."""
        other = kept.clone()
        other[:, number] = False
        some = other.any(dim=1)
        # A row without others attends to anything; its answer is put to zero.
        gone = ~(other | ~some[:, None]).repeat_interleave(rows.shape[2], dim=1)
        keys = rows.flatten(1, 2)
        queries = self.queries[number].expand(len(rows), -1, -1)
        complement = self.gather(queries, keys, keys, key_padding_mask=gone, need_weights=False)[0]
        read_rows = self.take(rows[:, number], complement, complement, need_weights=False)[0]
        return torch.where(some[:, None, None], read_rows, torch.zeros_like(read_rows))

    def unit(self, inputs: Tensor) -> Tensor:
        """The last state (n, W) of the recurrent unit over (n, R, W)."""
        inputs = self.drop(inputs)
        new, state = self.new(inputs), torch.zeros_like(inputs[:, 0])
        for step, fresh in zip(inputs.unbind(1), new.unbind(1), strict=True):
            take, keep = self.gates(torch.cat([step, state], dim=1)).sigmoid().chunk(2, dim=1)
            state = (1 - take) * state + take * torch.tanh(fresh + keep * self.old(state))
        return state

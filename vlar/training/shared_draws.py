"""Random draws for a share of the rows that equal those of all rows in one process.

Dropout draws one number for each entry of a tensor whose first dimension counts clips. A process
that holds some of the clips draws for all of them and keeps its own: what a clip loses then does
not depend on how many processes there are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class SharedDraws(TorchDispatchMode):
    """Inside of it, dropout of some rows is that of the same rows among all.

    Attention whose dropout happens inside one fused kernel of a GPU cannot be split so; its draws
    then differ from those of one process, and are as random.

    Args:
        count: Rows in all.
        share: Those that are computed here, at least one.
    """

    def __init__(self, count: int, share: slice) -> None:
        super().__init__()
        self._count, self._share = count, share

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs, aten = kwargs or {}, torch.ops.aten
        if func is aten.bernoulli_.float and self._each(args[0].shape):
            rows = args[0]
            return rows.copy_(self._part(self._whole(rows).bernoulli_(*args[1:], **kwargs), rows))
        if func is aten.native_dropout.default and args[2] and self._each(args[0].shape):
            rows = args[0]
            scale, kept = func(torch.ones_like(self._whole(rows)), *args[1:])
            return rows * self._part(scale, rows), self._part(kept, rows)
        if func is aten.rand.default and self._each(args[0]) == 1:
            whole = func([self._count, *args[0][1:]], *args[1:], **kwargs)
            return whole[self._share].clone()
        return func(*args, **kwargs)

    def _each(self, shape: Any) -> int:
        """Rows of a tensor for each clip; 0 where its rows are not those of clips."""
        mine = self._share.stop - self._share.start
        return 0 if not len(shape) or shape[0] % mine else shape[0] // mine

    def _whole(self, rows: Tensor) -> Tensor:
        """An empty tensor like ``rows`` with the rows of all clips, in the same order in memory."""
        size = [self._each(rows.shape) * self._count, *rows.shape[1:]]
        # A single row that lies as far apart as another axis lies inside of it, as many rows would.
        alone = rows.shape[0] == 1
        order = sorted(
            range(rows.ndim), key=lambda axis: (-rows.stride(axis), alone and axis == 0, axis)
        )
        laid_out = rows.new_empty([size[axis] for axis in order])
        return laid_out.permute([order.index(axis) for axis in range(rows.ndim)])

    def _part(self, whole: Tensor, rows: Tensor) -> Tensor:
        each = self._each(rows.shape)
        return whole[each * self._share.start : each * self._share.stop]

"""Several processes that train one model: who computes what, and what they tell each other.

Every process holds the whole model and the whole batch, and draws the same numbers. Only the costly
part of a step (``TrainingBatch.spread``) and the reading of clips are shared: process r of W takes
the rows from n r / W to n (r + 1) / W and is sent those of the others. Losses then stand on all
clips of the batch, whatever they compare, and all processes compute the same ones. The backward
pass of the gathering adds up what the W equal losses want of a row, which is W times the gradient;
the mean over the processes of the gradients of the parameters is therefore that of one process.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vlar.errors import TrainingError
from vlar.training.shared_draws import SharedDraws

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of one training, seen from one of them.

    Attributes:
        rank: Number of this one, from 0.
        count: W, how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is only one."""
        return self.count == 1

    def shares(self, size: int) -> list[slice]:
        """The rows of each process: all of ``size`` rows, none twice, sizes one apart at most.

        >>> [(each.start, each.stop) for each in Processes(0, 3).shares(7)]
        [(0, 2), (2, 4), (4, 7)]
        """
        ends = [size * rank // self.count for rank in range(self.count + 1)]
        return [slice(*pair) for pair in itertools.pairwise(ends)]

    def own(self, rows: Sequence[T]) -> Sequence[T]:
        """This process's share of some rows."""
        return rows[self.shares(len(rows))[self.rank]]

    def spread(
        self, function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        """See ``TrainingBatch.spread``; draws (dropout) are those of one process."""
        count = len(inputs[0])
        shares = self.shares(count)
        share = shares[self.rank]
        empty = share.start == share.stop  # one row is computed all the same, and left out
        taken = slice(0, 1) if empty else share
        with SharedDraws(count, taken):
            found = function(*(each[taken] for each in inputs))
        sizes = [each.stop - each.start for each in shares]
        return tuple(
            _Gather.apply(each[:0] if empty else each, self, sizes)  # pyright: ignore[reportReturnType]
            for each in found
        )

    def gathered(self, rows: Tensor, sizes: Sequence[int]) -> Tensor:
        """The rows of all processes, those of the first process first; without gradient.

        Args:
            rows: (n, ...) of this process.
            sizes: n of each process.
        """
        parts: list[Tensor] = []
        for rank, size in enumerate(sizes):
            mine = rank == self.rank
            part = rows.detach().contiguous() if mine else rows.new_empty(size, *rows.shape[1:])
            if size:
                # As bytes: not every transport knows every type of number.
                self._tell(part.reshape(-1).view(torch.uint8), rank)
            parts.append(part)
        return torch.cat(parts)

    def objects(self, value: T) -> list[T]:
        """A value of each process, in their order. The values are pickled, so they are small."""
        if self.alone:
            return [value]
        found: list[Any] = [None] * self.count
        with _others():
            torch.distributed.all_gather_object(found, value)
        return found

    def total(self, values: Tensor) -> Tensor:
        """The sum over the processes, in the place of a tensor of floats."""
        with _others():
            torch.distributed.all_reduce(values)
        return values

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Set the gradients to their mean over the processes, in one message a type of number."""
        if self.alone:
            return
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is not None:
                kinds.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for grads in kinds.values():
            flat = self.total(torch.cat([grad.reshape(-1) for grad in grads])) / self.count
            for grad, mean in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
                grad.copy_(mean.view_as(grad))

    def same_start(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give all processes the parameters of the first one."""
        if not self.alone:
            for parameter in parameters:
                self._tell(parameter.data, 0)

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.objects(None)

    def _tell(self, values: Tensor, rank: int) -> None:
        with _others():
            torch.distributed.broadcast(values, src=rank)


ALONE = Processes()


class _Gather(torch.autograd.Function):
    """Rows of this process to the rows of all, with gradients."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, processes: Processes, sizes: list[int]) -> Tensor:
        ctx.processes, ctx.sizes = processes, sizes
        return processes.gathered(rows, sizes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        total = ctx.processes.total(grads[0].contiguous().clone())
        start = sum(ctx.sizes[: ctx.processes.rank])
        return total[start : start + ctx.sizes[ctx.processes.rank]], None, None


@contextlib.contextmanager
def _others() -> Generator[None]:
    """What fails in here fails because another process has gone."""
    try:
        yield
    except RuntimeError as error:
        raise PeerError(
            "another process of this training has ended, so this one ends too; the newest "
            "checkpoint stays: run the same command again to go on from it"
        ) from error


class PeerError(TrainingError):
    """Another process of the training has ended."""

    kind = "peer"

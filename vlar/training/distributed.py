"""Several processes that train one model: division of the work, and messages.

Every process holds the whole model and the whole batch, and draws the same numbers. Only the costly
part of a step (``TrainingBatch.spread``) and the reading of clips are shared: process r of W takes
the rows from n r / W to n (r + 1) / W and is sent those of the others. Losses then stand on all
clips of the batch, whatever they compare, and all processes compute the same ones. The backward
pass of the gathering adds up the gradients of the W equal losses for a row, which is W times the
gradient; the mean over the processes of the gradients of the parameters is therefore that of one
process.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vlar.errors import TrainingError, UsageError
from vlar.heads.support import SupportItem
from vlar.model.core import ModelCore
from vlar.model.examples import FeatureCache, read_examples
from vlar.training.data import ClipLoader, FeatureLoader, LoadedClips
from vlar.types import ProgressCallback

_EVERY_S = 0.1  # between two looks at the processes
_LAST_WORDS_S = 5.0  # that the others have to end by themselves
#: Exit code of a process that ended because another one did; the launcher reports it.
PEER_GONE = 3
#: Set in the environment of the processes that ``launch`` starts, to a folder that outlives them.
OURS = "VLAR_TRAINING_LAUNCHED"


def launch(arguments: Sequence[str], count: int) -> int:
    """Train in ``count`` processes of this machine; one that dies ends the others.

    Args:
        arguments: Arguments of ``vlar train``, without the number of processes.
        count: Processes.

    Returns:
        The exit code of the first process, or of the one that failed.

    Raises:
        TrainingError: a process was killed.
    """
    port, command = _free_port(), [sys.executable, "-m", "vlar.training", *arguments]
    with tempfile.TemporaryDirectory(prefix="vlar-training-") as account:
        children = [
            subprocess.Popen(
                command, env=_environment(rank, count, port, account), stdin=subprocess.DEVNULL
            )
            for rank in range(count)
        ]
        try:
            while any(child.poll() is None for child in children):
                if any(child.returncode for child in children):
                    break
                time.sleep(_EVERY_S)
        finally:
            _end(children)
    codes = [child.returncode for child in children]
    told = [code for code in codes if code > 0 and code != PEER_GONE]
    killed = [rank for rank, code in enumerate(codes) if code < 0]
    if any(codes) and not told and killed:
        raise TrainingError(
            f"process {killed[0] + 1} of {count} was ended by signal {-codes[killed[0]]} (9 "
            "is often a lack of memory), so the training stopped; the newest checkpoint stays: run "
            "the same command again to go on from it, with as many processes as you like"
        )
    return told[0] if told else codes[0]


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Let the processes that still run end by themselves, then kill them."""
    deadline = time.monotonic() + _LAST_WORDS_S
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, deadline - time.monotonic()))
            continue
        child.kill()
        child.wait()


def _environment(rank: int, count: int, port: int, account: str) -> Mapping[str, str]:
    """Environment of a process, by the names that torch reads, and the folder of ``OURS``."""
    cores = os.cpu_count() or 1
    numbers = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
    named = {name: str(number) for name, number in numbers.items()}
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), OURS: account}
    threads = {"OMP_NUM_THREADS": str(max(1, cores // count))}
    return {**threads, **os.environ, **named, **variables}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class SharedDraws(TorchDispatchMode):
    """Mode in which dropout of some rows is that of the same rows among all.

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
            scale, mask = func(torch.ones_like(self._whole(rows)), *args[1:])
            return rows * self._part(scale, rows), self._part(mask, rows)
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
        counts = self._each(rows.shape)
        return whole[counts * self._share.start : counts * self._share.stop]


T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of one training, seen from one of them.

    Attributes:
        rank: Number of this one, from 0.
        count: W, how many there are.
        group: Torch's group for their messages; None for that of all.
    """

    rank: int = 0
    count: int = 1
    group: Any = None

    def apart(self) -> Processes:
        """The same processes with messages of their own, for another thread."""
        if self.alone:
            return self
        return replace(self, group=torch.distributed.new_group(backend="gloo", timeout=_WAIT))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is only one process."""
        return self.count == 1

    def shares(self, size: int) -> list[slice]:
        """The rows of each process: all of ``size`` rows, none twice, sizes one apart at most.

        >>> [(each.start, each.stop) for each in Processes(0, 3).shares(7)]
        [(0, 2), (2, 4), (4, 7)]
        """
        ends = [size * rank // self.count for rank in range(self.count + 1)]
        return [slice(*pair) for pair in itertools.pairwise(ends)]

    def own(self, rows: Sequence[T]) -> Sequence[T]:
        """Share of this process of some rows."""
        return rows[self.shares(len(rows))[self.rank]]

    def spread(
        self, function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        """Result of a function for every clip; draws (dropout) are those of one process."""
        count = len(inputs[0])
        shares = self.shares(count)
        share = shares[self.rank]
        empty = share.start == share.stop  # one row is computed all the same, and left out
        part = slice(0, 1) if empty else share
        with SharedDraws(count, part):
            results = function(*(value[part] for value in inputs))
        sizes = [count.stop - count.start for count in shares]
        return tuple(
            _Gather.apply(result[:0] if empty else result, self, sizes) for result in results
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
                # As bytes: not every transport supports every number type.
                self._tell(part.reshape(-1).view(torch.uint8), rank)
            parts.append(part)
        return torch.cat(parts)

    def objects(self, value: T) -> list[T]:
        """A value of each process, in their order. The values are pickled, so they are small."""
        if self.alone:
            return [value]
        objects: list[Any] = [None] * self.count
        with _others():
            torch.distributed.all_gather_object(objects, value, self.group)
        return objects

    def total(self, values: Tensor) -> Tensor:
        """The sum over the processes, in the place of a tensor of floats."""
        with _others():
            torch.distributed.all_reduce(values, group=self.group)
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
            torch.distributed.broadcast(values, src=rank, group=self.group)


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
    """Context in which a failure means that another process has gone."""
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


_WAIT = timedelta(hours=2)  # for the slowest process, which may read longer than the others
_TOLD = "vlar: errors told"


@contextlib.contextmanager
def started() -> Generator[Processes]:
    """The processes that a launcher started, connected; one alone where none did.

    Of an error that several of them meet one process reports; the others end silently.

    Raises:
        UsageError: the launcher uses an unsupported setting, or there are too few GPUs.
        SystemExit: another process reports the error.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield ALONE
        return
    _check_launcher()
    distributed = torch.distributed
    try:
        distributed.init_process_group(_backend(), timeout=_WAIT)
    except RuntimeError:
        # Under load one process may end with its error before another one is connected.
        if os.environ.get(OURS) and not _is_first_to_tell():
            sys.exit(PEER_GONE)
        raise
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size())
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, PeerError) and os.environ.get(OURS):
            sys.exit(PEER_GONE)
        if not _is_first_to_tell():
            sys.exit(130 if isinstance(error, KeyboardInterrupt) else 2)
        raise
    finally:
        distributed.destroy_process_group()


def _check_launcher() -> None:
    """Refuse ways of sharing that this training does not have.

    Raises:
        UsageError: the launcher asks for one.
    """
    names = [
        name
        for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM")
        if os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true"
    ]
    if names:
        raise UsageError(
            f"the launcher asks for {names[0]}, and a training here keeps the whole model in each "
            "process; start without it, and set gradient_checkpointing = true in [training] where "
            "memory is short"
        )


def _backend() -> str:
    """Backend of the processes; a GPU is taken for each where there are GPUs.

    Raises:
        UsageError: there are fewer GPUs than processes.
    """
    if not torch.cuda.is_available():
        return "gloo"
    rank, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if rank >= count:
        raise UsageError(
            f"process {rank + 1} of this machine has no GPU, as there are {count}; start {count} "
            "processes, or set CUDA_VISIBLE_DEVICES to nothing to train on the CPU"
        )
    torch.cuda.set_device(rank)
    return "cpu:gloo,cuda:nccl"


def _is_first_to_tell() -> bool:
    """Return whether no other process reports an error; True where they cannot be asked.

    Processes of ``launch`` are asked by a file: the store of torch goes with the first process.
    """
    if account := os.environ.get(OURS):
        try:
            os.close(os.open(Path(account) / "told", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        except OSError:
            return True
        return True
    from torch.distributed import distributed_c10d

    default_store = distributed_c10d._get_default_store  # pyright: ignore[reportPrivateUsage]
    try:
        return default_store().add(_TOLD, 1) == 1
    except Exception:  # noqa: BLE001 - the process that kept the account has gone
        return True


_CHUNK = 64  # clips whose features are in memory at a time


def load_shared(
    processes: Processes, loader: ClipLoader, rows: Sequence[int], *how: Any
) -> LoadedClips:
    """``ClipLoader.load``; recordings are read by one process each, features by all.

    Args:
        processes: Who reads.
        loader: Reads the clips; clips that another process could not read fail here too.
        rows: Their numbers.
        how: Further arguments of ``load``.
    """
    if processes.alone or isinstance(loader, FeatureLoader):
        return loader.load(rows, *how)
    before = set(loader.failed)
    inputs = loader.load(processes.own(rows), *how)
    new = {row: loader.failed[row] for row in loader.failed if row not in before}
    told = processes.objects((inputs.rows, new, _shapes(inputs)))
    for _, failed, _ in told:
        loader.failed.update(failed)
    read = [row for part, _, _ in told for row in part]
    shapes = next((shape for part, _, shape in told if part), {})
    if not read:
        return LoadedClips(read, torch.zeros(0))
    sizes = [len(part) for part, _, _ in told]
    tensors = {
        name: processes.gathered(_rows(inputs, name, shape), sizes)
        for name, shape in shapes.items()
    }
    return LoadedClips(read, tensors.pop(""), tensors)


def _shapes(loaded: LoadedClips) -> dict[str, tuple[int, ...]]:
    """Shape of a clip by name of the view; the inputs are the view without a name."""
    views = {"": loaded.inputs, **loaded.views}
    return {name: tuple(tensor.shape[1:]) for name, tensor in views.items()}


def _rows(loaded: LoadedClips, name: str, shape: Sequence[int]) -> Tensor:
    if not loaded.rows:
        return torch.zeros(0, *shape)
    return loaded.views[name] if name else loaded.inputs


def fill_cache(
    processes: Processes,
    core: ModelCore,
    items: Sequence[SupportItem],
    cache: FeatureCache | None,
    progress: ProgressCallback | None = None,
) -> None:
    """Encode this process's share of the recordings into a cache, and wait for the other processes.

    Nothing happens in a training of one process. A recording that cannot be read is left to the
    reading that follows, which reports it.
    """
    if processes.alone or cache is None:
        return
    part = items[processes.rank :: processes.count]
    if progress is not None:
        progress(0, total=len(part))

    def counted(count: int = 0, total: int | None = None) -> None:
        if progress is not None and total is None:
            progress(count)

    for start in range(0, len(part), _CHUNK):
        read_examples(core, part[start : start + _CHUNK], counted, cache)
    processes.wait()

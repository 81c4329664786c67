"""Joins the processes of a training that vlar, accelerate or torchrun started."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator
from datetime import timedelta

import torch

from vlar.errors import UsageError
from vlar.training.launch import OURS, PEER_GONE
from vlar.training.processes import ALONE, PeerError, Processes

_WAIT = timedelta(hours=2)  # for the slowest process, which may read longer than the others
_TOLD = "vlar: errors told"


@contextlib.contextmanager
def started() -> Generator[Processes]:
    """The processes that a launcher started, connected; one alone where none did.

    Of an error that several of them meet one process reports; the others end without a word.

    Raises:
        UsageError: the launcher asks for what is not offered, or there are too few GPUs.
        SystemExit: another process tells the error.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield ALONE
        return
    _check_launcher()
    distributed = torch.distributed
    distributed.init_process_group(_backend(), timeout=_WAIT)
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
    asked = [
        name
        for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM")
        if os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true"
    ]
    if asked:
        raise UsageError(
            f"the launcher asks for {asked[0]}, and a training here keeps the whole model in each "
            "process; start without it, and set gradient_checkpointing = true in [training] where "
            "memory is short"
        )


def _backend() -> str:
    """How the processes talk; a GPU is taken for each where there are GPUs.

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
    """Whether no other process tells an error; true where they cannot be asked."""
    from torch.distributed import distributed_c10d

    asked = distributed_c10d._get_default_store  # pyright: ignore[reportPrivateUsage]
    try:
        return asked().add(_TOLD, 1) == 1
    except Exception:  # noqa: BLE001 - the process that kept the account has gone
        return True

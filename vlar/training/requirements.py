"""What a training asks of a method before the first step."""

from __future__ import annotations

from torch import nn

from vlar.adapters.base import Adapter
from vlar.adapters.trainable import Trainable
from vlar.errors import UsageError
from vlar.training.hyperparameters import Hyperparameters
from vlar.training.processes import Processes


def check(adapter: Adapter, numbers: Hyperparameters, processes: Processes) -> None:
    """Refuse a method that cannot be trained as it is asked.

    Args:
        adapter: The method.
        numbers: The hyperparameters.
        processes: Who trains it.

    Raises:
        UsageError: it has no training, no towers to compute again, or norms over a batch that
            several processes would share.
    """
    if not isinstance(adapter, Trainable):
        raise UsageError(f"adapter {adapter.name!r} has no training; see docs/adapters.md")
    if numbers.gradient_checkpointing and not adapter.recomputes:
        raise UsageError(
            f"method {adapter.name!r} has no blocks that could be computed again; leave "
            "gradient_checkpointing out, or train lora, tuned or tc-clip"
        )
    kinds = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm
    norms = any(isinstance(module, kinds) for module in adapter.module.modules())
    if norms and not processes.alone:
        raise UsageError(
            f"method {adapter.name!r} normalises over the clips of a batch, which "
            f"{processes.count} processes would each do for their own; train in one process"
        )

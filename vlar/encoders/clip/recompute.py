"""Blocks whose insides are computed again in the backward pass instead of being kept.

Chen et al., "Training deep nets with sublinear memory cost", 2016, as torch's checkpointing has it.
A tower in training then keeps one tensor a block and takes about a third more time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

_on = False


@contextlib.contextmanager
def recomputing(wanted: bool) -> Generator[None]:
    """Inside of it ``block`` keeps no insides, where that is wanted."""
    global _on
    before, _on = _on, wanted
    try:
        yield
    finally:
        _on = before


def block(function: Callable[..., Any], *inputs: Any) -> Any:
    """``function(*inputs)``, one block of a tower.

    Random draws are the same when it is computed again, also those of several processes.
    """
    if not _on or not torch.is_grad_enabled():
        return function(*inputs)
    from torch.utils import _python_dispatch
    from torch.utils.checkpoint import checkpoint

    mode = _python_dispatch._get_current_dispatch_mode()  # pyright: ignore[reportPrivateUsage]

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), nullcontext() if mode is None else mode

    return checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts)

"""Devices and number types by name."""

from __future__ import annotations

import torch

from vlar.errors import UsageError
from vlar.registry import unknown_name

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(name: str | None) -> torch.device:
    """The named device; without a name the accelerator if there is one, else the CPU.

    Raises:
        UsageError: torch knows no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"no device is called {name!r}; use cpu, cuda or cuda:1") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {name!r} was asked for, but torch sees no GPU; use cpu")
    return device


def pick_dtype(name: str) -> torch.dtype:
    """The named type of the weights.

    Raises:
        UnknownNameError: it is none of float32, bfloat16, float16.
    """
    if name not in _TYPES:
        raise unknown_name("precision", name, _TYPES)
    return _TYPES[name]

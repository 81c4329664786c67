"""Devices and number types by name."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from vlar.encoders.spec import INT8, plain_precision
from vlar.errors import UsageError

_TYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    INT8: torch.float32,  # what int8 is made from
}
_log = logging.getLogger("vlar")


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
        UnknownNameError: the precision does not exist.
    """
    return _TYPES[plain_precision(name) or "float32"]


def usable_precision(wanted: str | None, device: str | None) -> str | None:
    """The precision that was asked for, or None where this machine is slower in it.

    Without bfloat16 instructions a CPU computes in float32 and rounds after each step. One warning
    then says that the model stays as its name says.

    Args:
        wanted: ``float32``, ``bfloat16``, ``float16`` or ``int8``; None for no wish.
        device: Where the model runs; None for the default.
    """
    if wanted != "bfloat16" or pick_device(device).type != "cpu" or cpu_has_bfloat16():
        return wanted
    _log.warning(
        "this CPU has no bfloat16 instructions, so bf16 would be slower: the model runs as without "
        "it (int8 is the faster choice here)"
    )
    return None


def warn_if_slow(precision: str, device: torch.device, name: str) -> None:
    """One line where a model's name asks for bfloat16 and the CPU has none: it stays as named.

    A library or a saved model that was made in bfloat16 needs the same vectors again.
    """
    if plain_precision(precision) == "bfloat16" and device.type == "cpu" and not cpu_has_bfloat16():
        _log.warning(
            "this CPU has no bfloat16 instructions: %s takes longer in it than in float32", name
        )


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 matrices itself (AVX512-BF16, AMX, or those of Arm)."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        return any("bf16" in str(name) and bool(on) for name, on in capabilities().items())
    try:
        return "bf16" in Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:  # not Linux, and torch before 2.11 does not say
        return False

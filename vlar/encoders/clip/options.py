"""Devices and number types by name."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vlar.encoders.spec import AUTO, INT8, PRECISION, joined, plain_precision, split_options
from vlar.errors import ModelError, UsageError
from vlar.version import is_installed

if TYPE_CHECKING:
    import torch
    from torch import nn


def cached(repository: str, names: tuple[str, ...], revision: str | None = None) -> Path | None:
    """The first of the named files of a repository that is in the local cache."""
    if not is_installed("huggingface_hub"):
        return None
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        path = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(path, str):
            return Path(path)
    return None


def why_offline() -> str | None:
    """Reason why the hub cannot be reached, within five seconds; None where it can."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return "HF_HUB_OFFLINE is set"
    from urllib.request import getproxies  # ssl and http with it

    if getproxies():
        return None
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    host = address.hostname or ""
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return f"no connection to {host}"
    return None


def offline(what: str, repository: str, why: str) -> ModelError:
    """The error for weights that are neither here nor to be had."""
    family, colon, _ = what.rpartition(" ")[2].partition(":")
    family = family if colon else "openclip"
    return ModelError(
        f"{what} is not in the local cache and cannot be fetched: {why}. With a network, unset "
        f"HF_HUB_OFFLINE and run again. Without one, run 'hf download {repository} "
        f"--local-dir FOLDER' on another machine, copy the folder, and use {family}:FOLDER"
    )


_log = logging.getLogger("vlar")
_AMPERE = 8  # compute capability from which a card computes in bfloat16 and TF32
_PATCH_CONVOLUTIONS = 4  # tensors of four dimensions in a model of transformers alone, at most


def pick_device(name: str | None) -> torch.device:
    """The named device; without a name the accelerator if there is one, else the CPU.

    Raises:
        UsageError: torch has no such device.
    """
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"no device is called {name!r}; use cpu, cuda or cuda:1") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {name!r} was asked for, but torch finds no GPU; use cpu")
    return device


def pick_dtype(name: str) -> torch.dtype:
    """The named type of the weights.

    Raises:
        UnknownNameError: the precision does not exist.
    """
    import torch

    plain = plain_precision(name) or "float32"
    return getattr(torch, "float32" if plain == INT8 else plain)  # what int8 is made from


def read_spec(
    kind: str, argument: str, known: Collection[str], device: str | None, dtype: str | None
) -> tuple[str, dict[str, str], str, dict[str, Any]]:
    """The parts of a spec; arguments win over its options.

    Returns:
        The model, its options, the spec that loads it again, and the settings ``device`` and
        ``precision`` for its loader. The type changes the vectors, so it belongs to the spec; the
        device does not.
    """
    target, options = split_options(argument, known)
    device = device or options.get("device")
    if dtype == AUTO:
        dtype = None if PRECISION in options else default_precision(device)
    if (dtype := _usable_precision(dtype, device)) is not None:
        options[PRECISION] = dtype
        argument = joined(target, options)
    loading = {"device": device, "precision": options.get(PRECISION, "float32")}
    return target, options, f"{kind}:{argument}", loading


def _usable_precision(wanted: str | None, device: str | None) -> str | None:
    """The precision that was asked for, or None where this machine is slower in it.

    Without bfloat16 instructions a CPU computes in float32 and rounds after each step. One warning
    then states that the model keeps the precision of its name.

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


@cache
def default_precision(device: str | None) -> str | None:
    """Number type of a new model on a device: bfloat16 where CUDA computes in it, else float32.

    bfloat16 keeps the range of float32. float16 does not: towers that were trained in bfloat16 may
    overflow in it, so a card before Ampere computes in float32.
    """
    import torch

    chosen = pick_device(device)
    if chosen.type != "cuda":
        return None
    if torch.cuda.get_device_capability(chosen)[0] >= _AMPERE:
        _log.info("new models compute in bf16 on %s; --dtype float32 is exact", chosen)
        return "bfloat16"
    _log.info("%s has no bf16: models compute in float32; --dtype float16 is faster", chosen)
    return None


def place_model(model: nn.Module, device: str | None, precision: str, name: str) -> None:
    """Freeze a model and move it to its device and number type.

    On an accelerator networks of 2-D convolutions lie with their channels last.
    """
    import torch

    model.eval().requires_grad_(False)
    chosen_device = pick_device(device)
    model.to(device=chosen_device, dtype=pick_dtype(precision))
    allow_tf32(chosen_device, precision)
    if chosen_device.type != "cpu" and _is_convolutional(model):
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    warn_if_slow(precision, chosen_device, name)


def allow_tf32(device: torch.device, precision: str) -> None:
    """Let CUDA compute products of a model in float32 in TF32, in the whole process."""
    import torch

    if device.type == "cuda" and pick_dtype(precision) == torch.float32:
        torch.set_float32_matmul_precision("high")


def _is_convolutional(model: nn.Module) -> bool:
    """Return whether a model has 2-D convolutions besides that of patches, and none of 3-D."""
    dims = [p.dim() for p in model.parameters()]
    return dims.count(4) > _PATCH_CONVOLUTIONS and 5 not in dims


def warn_if_slow(precision: str, device: torch.device, name: str) -> None:
    """One line where a model's name asks for bfloat16 and the CPU has none: it stays as named.

    A library or a saved model that was made in bfloat16 needs the same vectors again.
    """
    if plain_precision(precision) == "bfloat16" and device.type == "cpu" and not cpu_has_bfloat16():
        _log.warning(
            "this CPU has no bfloat16 instructions: %s takes longer in it than in float32", name
        )


def cpu_has_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 matrices itself (AVX512-BF16, AMX, or those of
    Arm).
    """
    import torch

    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        return any("bf16" in str(name) and bool(on) for name, on in capabilities().items())
    try:
        return "bf16" in Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:  # not Linux, and torch before 2.11 does not report it
        return False

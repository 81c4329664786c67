"""Weights of published networks: read as data, and put into a network of the same layout."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vlar.errors import UsageError
from vlar.files.reading import parse_json, read_file
from vlar.training.clip_weights import open_file

_MOST_CONFIG = 1_000_000  # bytes of a sidecar
_SHOWN = 3
_AROUND = ("state_dict", "model", "module", "model_state")


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of a released file, and the configuration next to it.

    Args:
        path: ``.pth``, ``.pt`` or ``.safetensors``: a dict of tensors, alone or under
            ``state_dict`` or ``model``; a leading ``module.`` is dropped. Nothing is executed.
            Or a folder of ``config.json`` with ``model_config``, and one file of safetensors.

    Returns:
        Tensors by name, and ``config`` of ``<path>.json``; empty without that file.

    Raises:
        ModelError: no such file, a damaged one, or one that holds more than data.
        UsageError: it holds no tensors, or the configuration is not a JSON object.
    """
    path, sidecar = Path(path), Path(f"{path}.json")
    if path.is_dir():
        files, sidecar = sorted(path.glob("*.safetensors")), path / "config.json"
        if len(files) != 1:
            raise UsageError(f"{path} holds {len(files)} files of safetensors; give a file of one")
        path = files[0]
    stored: Any = open_file(path)
    for name in _AROUND:
        if isinstance(stored, dict) and isinstance(stored.get(name), dict):
            stored = stored[name]
            break
    state = {
        str(name).removeprefix("module."): value
        for name, value in stored.items()
        if isinstance(value, Tensor)
    }
    if not state:
        raise UsageError(f"{path} holds no tensors; give the file with the weights")
    return state, _sidecar(sidecar)


def _sidecar(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = parse_json(read_file(path, _MOST_CONFIG))
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise UsageError(f"{path} is not a configuration ({error}); remove or repair it") from error
    for name in ("config", "model_config"):
        if isinstance(config, dict) and isinstance(config.get(name), dict):
            config = config[name]
    if not isinstance(config, dict):
        raise UsageError(f"{path} holds no object of settings; remove or repair it")
    return config


def fill(
    network: nn.Module,
    state: dict[str, Tensor],
    path: str | Path,
    *,
    optional: Collection[str] = (),
) -> nn.Module:
    """Put tensors into a network, exactly those of its layout.

    Args:
        network: Gets the tensors.
        state: By the names of the network.
        path: The file, for messages.
        optional: Endings of names that a file may lack: what the network computes itself.

    Returns:
        The network in evaluation mode.

    Raises:
        UsageError: names are missing or left over, or a shape differs; the message counts them
            and names three of each.
    """
    ends = ("num_batches_tracked", *optional)
    expected = network.state_dict()
    missing = [n for n in expected if n not in state and not n.endswith(ends)]
    over = [name for name in state if name not in expected]
    if missing or over:
        raise UsageError(
            f"{path} does not fit the network: {_named(missing, 'missing')}, "
            f"{_named(over, 'left over')}; check which network the file is of"
        )
    for name, value in state.items():
        if value.shape != expected[name].shape:
            raise UsageError(
                f"{path} does not fit the network: {name} is {tuple(value.shape)}, and "
                f"{tuple(expected[name].shape)} is needed; check its settings"
            )
    network.load_state_dict(state, strict=False)
    return network.eval()


def _named(names: list[str], what: str) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{len(names)} {what}" + (
        f" ({shown}{', ...' * (len(names) > _SHOWN)})" if names else ""
    )

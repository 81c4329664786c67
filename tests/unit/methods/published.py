"""Golden data of published networks: small files, or weights that a rule draws by name."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vlar.methods import released

GOLDEN = Path(__file__).parents[2] / "golden" / "nets"


def _normal(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    state = np.random.RandomState(zlib.crc32(f"{seed}:{name}".encode()))
    return state.standard_normal(int(np.prod(shape))).astype(np.float32).reshape(shape)


def _coarse(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Pictures: cells of 8 x 8 pixels, and half of ``_normal``."""
    rows, columns = shape[-2:]
    cells = _normal(f"{name}/cells", (*shape[:-2], -(-rows // 8), -(-columns // 8)), seed)
    cells = cells.repeat(8, axis=-2).repeat(8, axis=-1)[..., :rows, :columns]
    return cells + np.float32(0.5) * _normal(name, shape, seed)


def _weight(name: str, shape: tuple[int, ...], seed: int, gain: float) -> np.ndarray:
    draw = _normal(name, shape, seed)
    if name.endswith("running_mean"):
        return np.float32(0.2) * draw
    if name.endswith("running_var"):
        return np.float32(0.6) + np.float32(0.4) * np.abs(draw)
    if len(shape) >= 2:
        return draw * np.float32(gain / np.sqrt(np.prod(shape[1:])))
    if name.endswith("weight"):
        return np.float32(0.8) + np.float32(0.1) * draw
    return np.float32(0.1) * draw


def read(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Facts and tensors of a network."""
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    return json.loads((GOLDEN / f"{name}.json").read_text("utf-8")), tensors


def weights(name: str) -> dict[str, Tensor]:
    """A state dict by the names of the released file."""
    facts, tensors = read(name)
    state = {key[7:]: value for key, value in tensors.items() if key.startswith("weight/")}
    rule = facts["weights"]
    if rule is None:
        return state
    with torch.device("meta"):
        shapes = released.build(name, facts["config"]).state_dict()
    for key, value in shapes.items():
        left_out = key in state or key in rule["kept"] or key in rule["alias"]
        if not left_out and not key.endswith("num_batches_tracked"):
            drawn = torch.from_numpy(_weight(key, tuple(value.shape), rule["seed"], rule["gain"]))
            state[key] = drawn * rule["scale"].get(key, 1)
    return state | {key: state[other].clone() for key, other in rule["alias"].items()}


def inputs(name: str) -> dict[str, Tensor]:
    """Inputs by keyword."""
    facts, tensors = read(name)
    rules = {"normal": _normal, "coarse": _coarse}
    return {
        key: tensors[how["stored"]]
        if "stored" in how
        else torch.from_numpy(rules[how["rule"]](f"input/{key}", tuple(how["shape"]), how["seed"]))
        for key, how in facts["inputs"].items()
    }


def write(name: str, folder: Path, state: dict[str, Tensor] | None = None) -> Path:
    """The file of a network as somebody would have it, with its settings next to it."""
    path = folder / f"{name}.safetensors"
    state = weights(name) if state is None else state
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    config = read(name)[0]["config"]
    Path(f"{path}.json").write_text(json.dumps({"name": name, "config": config}))
    return path

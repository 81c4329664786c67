"""The golden FROSTER: tensors, its CLIP as an open_clip folder, a checkpoint in its layout."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

HERE = Path(__file__).parents[2] / "golden"


@cache
def tensors(name: str) -> dict[str, Tensor]:
    """All tensors of the files that begin with ``froster_NAME``."""
    found: dict[str, Tensor] = {}
    for path in sorted(HERE.glob(f"froster_{name}*.safetensors")):
        found.update(load_file(path))
    return found


@cache
def facts() -> dict[str, Any]:
    return json.loads((HERE / "froster_a.json").read_text("utf-8"))


def weights(prefix: str = "") -> dict[str, Tensor]:
    """By the reference's names, as far as they begin with the prefix."""
    found = {name.removeprefix("weight/"): t for name, t in tensors("a").items()
             if name.startswith("weight/")}  # fmt: skip
    return {name: t.clone() for name, t in found.items() if name.startswith(prefix)}


def plug_in(kind: str) -> dict[str, Tensor]:
    """Weights of a plug-in by the reference's names."""
    start = f"{kind}/weight/"
    found = tensors("variants").items()
    return {f"model.visual.{n.removeprefix(start)}": t for n, t in found if n.startswith(start)}


def model_config() -> dict[str, Any]:
    c = facts()["config"]
    return {
        "embed_dim": c["embed"],
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": c["image"],
            "patch_size": c["patch"],
            "width": c["v_width"],
            "head_width": c["v_width"] // c["v_heads"],
            "layers": c["v_layers"],
        },
        "text_cfg": {
            "context_length": c["ctx"],
            "vocab_size": c["vocab"],
            "width": c["t_width"],
            "heads": c["t_heads"],
            "layers": c["t_layers"],
        },
    }


def save_base(folder: Path, seed: int = 3) -> Path:
    """A CLIP of the golden shape with other weights, as a hub folder."""
    from open_clip.model import CLIP

    config = model_config()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = CLIP(**config).state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "open_clip_model.safetensors")
    text = json.dumps({"model_cfg": config, "preprocess_cfg": {}})
    (folder / "open_clip_config.json").write_text(text, "utf-8")
    return folder


def save_checkpoint(path: Path, state: dict[str, Tensor] | None = None, **more: Any) -> Path:
    """As a trainer saves: tensors in an entry, beside what only resuming needs."""
    stored = {"epoch": 11, "model_state": weights() if state is None else state, "cfg": "A: 1"}
    torch.save({**stored, "optimizer_state": {"state": {}}, **more}, path)
    return path

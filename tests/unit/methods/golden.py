"""The golden TC-CLIP as an open_clip folder, a checkpoint in the original's layout, and tensors."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.conftest import SHARED

HERE = Path(__file__).parents[2] / "golden"


@cache
def tensors(name: str) -> dict[str, Tensor]:
    """All tensors of the files that begin with ``tcclip_NAME``."""
    found: dict[str, Tensor] = {}
    for path in sorted(HERE.glob(f"tcclip_{name}*.safetensors")):
        found.update(load_file(path))
    return found


@cache
def facts(name: str) -> dict[str, Any]:
    return json.loads((HERE / f"tcclip_{name}.json").read_text("utf-8"))


def shared_file(name: str) -> Path | None:
    """A full golden file, where the shared folder is mounted."""
    path = SHARED / "golden" / f"tcclip_golden_{name}"
    return path if path.is_file() else None


def model_config() -> dict[str, Any]:
    c = facts("a")["config"]
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
            "context_length": 77,
            "vocab_size": 49408,
            "width": c["t_width"],
            "heads": c["t_heads"],
            "layers": c["t_layers"],
        },
    }


def settings() -> dict[str, Any]:
    c = facts("a")["config"]
    return {
        "seed_fraction": c["seed_token_a"],
        "context_tokens": c["context_token_k"],
        "merge_step": c["tome_r"],
        "n_prompts": c["n_ctx"],
        "max_tokens": c["context_length"],
    }


def save_base(folder: Path, seed: int = 3) -> Path:
    """A CLIP of the golden shape with other weights, as a hub folder; its vocabulary is golden."""
    from open_clip.model import CLIP

    config = model_config()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = CLIP(**config).state_dict()
    a = tensors("a")
    state["token_embedding.weight"] = torch.zeros_like(state["token_embedding.weight"])
    rows = a["weights.token_embedding.ids"].long()
    state["token_embedding.weight"][rows] = a["weights.token_embedding.rows"]
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "open_clip_model.safetensors")
    text = json.dumps({"model_cfg": config, "preprocess_cfg": {}})
    (folder / "open_clip_config.json").write_text(text, "utf-8")
    return folder


def original_state() -> dict[str, Tensor]:
    """Weights by the original's names."""
    return {name: tensors("a")[f"weights.{name}"] for name in facts("a")["mapping"]}


def save_checkpoint(path: Path, **more: Any) -> Path:
    """As the original's trainer saves: prefixed names, class buffers, optimiser state."""
    model = {f"module.{name}": value for name, value in original_state().items()}
    model["module.prompt_learner.token_prefix"] = torch.zeros(5, 1, 48)
    model["module.prompt_learner.token_suffix"] = torch.zeros(5, 15, 48)
    stored = {"model": model, "optimizer": {"state": {}}, "epoch": 9, "max_accuracy": 82.1, **more}
    torch.save(stored, path)
    return path

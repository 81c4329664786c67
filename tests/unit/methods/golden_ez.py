"""The golden EZ-CLIP: tensors, a CLIP, the network, a checkpoint in the original's layout."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.unit.methods.golden import HERE
from vlar.encoders.clip import openclip_loader
from vlar.methods.ez_clip.checkpoint import split
from vlar.methods.ez_clip.network import EzClipConfig, EzClipNetwork


@cache
def tensors(name: str) -> dict[str, Tensor]:
    """All tensors of the files that begin with ``ez_NAME``."""
    found: dict[str, Tensor] = {}
    for path in sorted(HERE.glob(f"ez_{name}*.safetensors")):
        found.update(load_file(path))
    return found


@cache
def facts(name: str) -> dict[str, Any]:
    return json.loads((HERE / f"ez_{name}.json").read_text("utf-8"))


def original_state() -> dict[str, Tensor]:
    """Weights by the original's names."""
    names = facts("golden_a")["name_mapping"]
    return {name: tensors("golden_a")[f"weight/{name}"] for name in names}


def time_state() -> dict[str, Tensor]:
    """Weights of the time adapters by the original's names."""
    mark = "t_adapter/weight/"
    found = tensors("variants").items()
    return {name.removeprefix(mark): t for name, t in found if name.startswith(mark)}


def model_config(vocabulary: int) -> dict[str, Any]:
    c = facts("golden_a")["config"]
    return {
        "embed_dim": c["embed"],
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": c["image"], "patch_size": c["patch"], "width": c["v_width"],
            "head_width": c["v_width"] // c["v_heads"], "layers": c["v_layers"],
        },
        "text_cfg": {
            "context_length": c["ctx"], "vocab_size": vocabulary, "width": c["t_width"],
            "heads": c["t_heads"], "layers": c["t_layers"],
        },
    }  # fmt: skip


@cache
def clip() -> Any:
    towers, _ = split(original_state())
    model = CLIP(**model_config(64)).eval().requires_grad_(False)
    model.load_state_dict(towers)
    return model


def network(**settings: Any) -> EzClipNetwork:
    """The golden model, or a variant of it with the parts that the settings ask for."""
    _, own = split({**original_state(), **time_state()})
    own["temporal_embedding"] = tensors("variants")["temporal_embedding/value"][0]
    own["temporal_prompts"] = own["temporal_prompts"][: 1 if "prompts" in settings else None]
    config = EzClipConfig(n_frames=4, **settings)
    vision, text = openclip_loader.vision_view(clip()), openclip_loader.text_view(clip())
    built = EzClipNetwork.build(vision, text, config, lambda: clip().logit_scale)
    built.parts.load_state_dict({name: own[name] for name in built.parts.state_dict()})
    return built


def real_vocabulary(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with as many tokens as CLIP's tokeniser has: random, but for the golden ones."""
    words = torch.randn(49408, 48, generator=torch.Generator().manual_seed(4)) * 0.1
    words[:64] = state["token_embedding.weight"]
    return {**state, "token_embedding.weight": words}


def save_base(folder: Path, seed: int = 3) -> Path:
    """A CLIP of the golden shape with other weights, as a hub folder."""
    config = model_config(49408)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = CLIP(**config).state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "open_clip_model.safetensors")
    text = json.dumps({"model_cfg": config, "preprocess_cfg": {}})
    (folder / "open_clip_config.json").write_text(text, "utf-8")
    return folder

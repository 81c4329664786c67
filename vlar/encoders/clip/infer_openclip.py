"""Which architectures of open_clip a weights file fits, by the shapes of its tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

Shape = tuple[int, ...]


def infer_architectures(path: Path) -> list[str]:
    """Names of the architectures with a plain ViT whose shapes are those of the file, sorted."""
    shapes = read_shapes(path)
    found: list[str] = []
    for name in open_clip.list_models():
        config: dict[str, Any] = open_clip.get_model_config(name) or {}
        if _expected(config) == {key: shapes.get(key) for key in _expected(config)}:
            found.append(name)
    return sorted(found)


def read_shapes(path: Path) -> dict[str, Shape]:
    """Shapes by name, ``module.`` and ``state_dict`` wrappers taken off; tensors are not read."""
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    else:
        stored: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if isinstance(stored, dict) and "state_dict" in stored:
            stored = stored["state_dict"]
        found = {k: tuple(v.shape) for k, v in stored.items() if isinstance(v, Tensor)}
    return {key.removeprefix("module."): shape for key, shape in found.items()}


def _expected(config: dict[str, Any]) -> dict[str, Shape | None]:
    """Shapes that tell plain CLIPs apart; a tensor that must not exist maps to None."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    plain = "timm_model_name" not in vision and isinstance(vision.get("layers"), int)
    if not plain or "hf_model_name" in text or "multimodal_cfg" in config:
        return {"": ()}  # no file has it
    width, patch, size = vision["width"], vision["patch_size"], vision["image_size"]
    sides = (size, size) if isinstance(size, int) else size
    n_tokens = (sides[0] // patch) * (sides[1] // patch) + 1
    prefix = "text." if config.get("custom_text") else ""
    last, more = vision["layers"] - 1, vision["layers"]
    text_width = text.get("width", 512)
    text_last = text.get("layers", 12) - 1
    return {
        "visual.conv1.weight": (width, 3, patch, patch),
        "visual.positional_embedding": (n_tokens, width),
        "visual.proj": (width, config["embed_dim"]),
        f"visual.transformer.resblocks.{last}.ln_1.weight": (width,),
        f"visual.transformer.resblocks.{more}.ln_1.weight": None,
        f"{prefix}positional_embedding": (text.get("context_length", 77), text_width),
        f"{prefix}token_embedding.weight": (text.get("vocab_size", 49408), text_width),
        f"{prefix}transformer.resblocks.{text_last}.ln_1.weight": (text_width,),
        f"{prefix}transformer.resblocks.{text_last + 1}.ln_1.weight": None,
    }

"""Reads the checkpoints of the original TC-CLIP.

Layout: a dict with ``model`` (names prefixed ``module.``), optimiser states and a pickled
configuration object. Tensors are read; nothing in the file is executed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError
from vlar.methods.tc_clip.network import TcClipConfig
from vlar.training.clip_weights import fill, leaves, open_base, open_file, openai_architecture
from vlar.types import JsonDict

_SETTINGS = {
    "seed_token_a": ("seed_fraction", float),
    "context_token_k": ("context_tokens", int),
    "tome_r": ("merge_step", int),
    "ctx_init": ("prompt_phrase", str),
    "im_stop_grad": ("stop_gradient", bool),
    "num_frames": ("n_frames", int),
    "context_length": ("max_tokens", int),
}
# Made from the class names of one data set; the class set of a user takes their place.
_OF_ONE_DATA_SET = ("prompt_learner.token_prefix", "prompt_learner.token_suffix")
_TABLE = ".attn.local_global_bias_table"
_BLOCKS = "image_encoder.transformer.resblocks."
_PROMPTING = "text_encoder.prompt_generation_layer."
_KEPT = ("token_embedding.weight",)  # not in the file
_PARTS = {"q_proj": 0, "k_proj": 1, "v_proj": 2}


def load_inert(path: Path) -> tuple[dict[str, Any], JsonDict]:
    """The dict of a checkpoint, and the TC-CLIP settings its configuration names.

    Raises:
        ModelError: the file does not exist, it is damaged, or it holds anything but data.
    """
    stored = open_file(path)
    return stored, _settings(stored.get("config"))


def _settings(config: Any) -> JsonDict:
    """Known settings in a configuration tree, where they have the type they should have."""
    settings: JsonDict = {}
    for name, value in leaves(config):
        if name in _SETTINGS and value is not None:
            ours, kind = _SETTINGS[name]
            if isinstance(value, kind) or (kind is float and isinstance(value, int)):
                settings[ours] = value
    return settings


def load(
    file: str, base: str | None, ensemble: float, settings: JsonDict
) -> tuple[TorchEncoder, TcClipConfig, dict[str, Tensor]]:
    """The fine-tuned CLIP, the configuration and the adapter's own state.

    Args:
        file: The checkpoint, or its tensors as safetensors.
        base: Spec of the CLIP it was trained from; None means OpenAI's of the same shape.
        ensemble: Weight of the fine-tuned against the base weights, 0 to 1; 0 and 1 both mean
            the fine-tuned ones alone, as in the original.
        settings: Overrides for the settings of the file.
    """
    if not 0 <= ensemble <= 1:
        raise ModelError(f"ensemble={ensemble} must lie between 0 and 1; the original uses 0.7")
    path = Path(file).expanduser()
    tensors, stored = read(path)
    config = _config(path, tensors, {**stored, **settings})
    if base is None:
        arch = openai_architecture(path, tensors["image_encoder.conv1.weight"])
        base = f"openclip:{arch}/openai"
    encoder = open_base(base)
    levels = config.levels(
        len(encoder.towers.text_view().blocks), len(encoder.towers.vision_view().blocks)
    )
    towers, adapter_state = split(tensors, levels)
    encoder = fill(
        encoder, towers, path, kept=_KEPT, share=ensemble or 1.0, others="TC-CLIP's parts"
    )
    return encoder, config, adapter_state


def read(path: Path) -> tuple[dict[str, Tensor], JsonDict]:
    """Tensors by the original's names, and the settings the stored configuration names.

    Raises:
        ModelError: no such file, not a checkpoint, or one that holds more than data.
    """
    stored, settings = load_inert(path)
    model = stored.get("model", stored)
    if not isinstance(model, dict):
        raise ModelError(
            f"entry 'model' of {path} is not a dict of tensors; give a checkpoint of TC-CLIP"
        )
    tensors = {
        name.removeprefix("module."): value.float()
        for name, value in model.items()
        if isinstance(value, Tensor)
    }
    tensors = {name: t for name, t in tensors.items() if name not in _OF_ONE_DATA_SET}
    if "prompt_learner.ctx" not in tensors:
        raise ModelError(
            f"{path} is not a TC-CLIP checkpoint: it has no 'prompt_learner.ctx'; a plain CLIP is "
            "loaded with openclip:FILE"
        )
    return tensors, settings


def split(
    tensors: dict[str, Tensor], levels: tuple[int, ...]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Original names to those of an open_clip ``CLIP`` and of the adapter's own state.

    Args:
        tensors: From ``read``.
        levels: Text blocks that are preceded by prompting, ascending.
    """
    towers: dict[str, Tensor] = {}
    adapter_state: dict[str, Tensor] = {}
    packed: dict[str, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        if name == "prompt_learner.ctx":
            adapter_state["prompts"] = tensor
        elif name.endswith(_TABLE):
            adapter_state[f"bias_tables.{name.removeprefix(_BLOCKS).removesuffix(_TABLE)}"] = tensor
        elif name.startswith(_PROMPTING):
            number, _, tail = name.removeprefix(_PROMPTING).partition(".")
            adapter_state[f"prompting.{levels[int(number)]}.{tail}"] = tensor
        elif name.startswith("image_encoder."):
            _image_name(name.removeprefix("image_encoder."), tensor, towers, packed)
        else:
            towers[name.removeprefix("text_encoder.")] = tensor
    for name, parts in packed.items():
        towers[name] = torch.cat([parts[i] for i in sorted(parts)])
    return towers, adapter_state


def _image_name(
    name: str, tensor: Tensor, towers: dict[str, Tensor], packed: dict[str, dict[int, Tensor]]
) -> None:
    block, _, tail = name.rpartition(".attn.")
    part, _, kind = tail.partition(".")
    if block and part in _PARTS:
        packed.setdefault(f"visual.{block}.attn.in_proj_{kind}", {})[_PARTS[part]] = tensor
    else:
        towers[f"visual.{name}"] = tensor


def _config(path: Path, tensors: dict[str, Tensor], found: JsonDict) -> TcClipConfig:
    layers = {name[len(_PROMPTING) :].split(".")[0] for name in tensors if _PROMPTING in name}
    settings = {**found, "n_prompts": len(tensors["prompt_learner.ctx"])}
    config = TcClipConfig.from_dict(settings)
    if len(layers) != max(1, len(config.prompt_levels)):
        raise ModelError(
            f"{path} has {len(layers)} prompting layers and does not say where; add "
            "?prompt_levels=6,12 (text blocks counted from 1)"
        )
    return config

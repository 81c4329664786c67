"""A folder of peft's low-rank changes (LoRA, arXiv 2106.09685), added to the weights of a model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from vlar.encoders.clip import trust
from vlar.encoders.clip.towers import LOADING_ERRORS
from vlar.errors import ModelError
from vlar.files.arrays import read_header

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
#: Settings that say what the changes are; others must have no effect on loaded weights.
_READ = {
    *("r", "lora_alpha", "target_modules", "exclude_modules", "rank_pattern", "alpha_pattern"),
    *("layers_to_transform", "layers_pattern", "use_rslora", "use_dora", "fan_in_fan_out", "bias"),
    *("lora_bias", "modules_to_save"),
}
_IDLE = {
    *("base_model_name_or_path", "revision", "task_type", "auto_mapping", "inference_mode"),
    *("init_lora_weights", "lora_dropout", "peft_version", "peft_type"),
}


def merged(model: Any, folder: str, name: str) -> Any:
    """The model with the changes of a folder in its weights.

    Args:
        model: A model of transformers, which is changed.
        folder: Folder with ``adapter_config.json`` and ``adapter_model.safetensors``.
        name: Name of the model in messages.

    Raises:
        ModelError: the folder cannot be read, its changes are not LoRA, or are those of another
            architecture.
    """
    from peft import LoraConfig, PeftModel, get_peft_model_state_dict

    place = Path(folder).expanduser()
    what = f"{name}: the LoRA folder {folder}"
    weights, file = place / WEIGHTS, place / CONFIG
    if not (weights.is_file() and file.is_file()):
        raise ModelError(f"{what} lacks {CONFIG} or {WEIGHTS}; give the folder that peft saved")
    trust.check_weights(weights, what)
    stated, usual = trust.read_settings(file, what), LoraConfig().to_dict()
    if not isinstance(stated, dict) or stated.get("peft_type") != "LORA":
        raise ModelError(f"{what} holds no LoRA; vlar merges no other changes of peft")
    for key, value in stated.items():
        if key not in _READ | _IDLE and value and value != usual.get(key):
            raise ModelError(f"{what} sets {key}, which vlar does not read; merge it with peft")
    try:
        config = LoraConfig(**{key: stated[key] for key in _READ & stated.keys()})
        with warnings.catch_warnings():  # of names that do not fit, which are compared below
            warnings.simplefilter("ignore")
            changed = PeftModel.from_pretrained(model, str(place), config=config)
    except LOADING_ERRORS as error:
        first = str(error).strip().partition("\n")[0][:200]
        raise ModelError(f"{what} does not fit the model ({first}); name its own base") from error
    shapes = read_header(weights, trust.MOST).shapes
    strange = sorted(shapes.keys() ^ get_peft_model_state_dict(changed).keys())
    if strange:
        raise ModelError(f"{what} does not fit the model at {strange[0]!r}; name its own base")
    return changed.merge_and_unload()

"""Reads the checkpoints of the original EZ-CLIP.

Layout: the names of an open_clip ``CLIP``, prompts and adapters, all in one dict of tensors,
mostly stored in half precision. Tensors are read; nothing in the file is executed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError
from vlar.methods.ez_clip.network import EzClipConfig
from vlar.training.clip_weights import fill, open_base, open_file, openai_architecture
from vlar.types import JsonDict

_PATCHES = "visual.conv1.weight"
_PROMPTS = "visual.transformer.T_prompt_embeddings"
_MOMENTS = "visual.temporal_embedding"
_ADAPTER = re.compile(
    r"(?P<tower>visual\.)?transformer\.resblocks\.(?P<block>\d+)\."
    r"(?P<kind>T_Adapter|Adapter)\.D_fc(?P<layer>[12])\.(?P<what>weight|bias)"
)


def load(
    file: str, base: str | None, settings: JsonDict
) -> tuple[TorchEncoder, EzClipConfig, dict[str, Tensor]]:
    """The CLIP of the file, the configuration and the adapter's own state.

    Args:
        file: The checkpoint, or its tensors as safetensors.
        base: Spec of a CLIP of the same shape; None means OpenAI's, which is then not fetched.
        settings: Overrides for the settings of the file.
    """
    path = Path(file).expanduser()
    tensors = read(path)
    towers, adapter_state = split(tensors)
    if base is None:
        base = f"openclip:{openai_architecture(path, tensors[_PATCHES])}?random_init=true"
    encoder = fill(open_base(base), towers, path, others="EZ-CLIP's parts")
    encoder.licence = f"that of the checkpoint {path.name!r}: see where it comes from"
    config = EzClipConfig.from_dict({**found_settings(adapter_state, encoder), **settings})
    if config.prompts == "none":
        adapter_state.pop("temporal_prompts", None)
    elif config.prompts == "shallow" and "temporal_prompts" in adapter_state:
        adapter_state["temporal_prompts"] = adapter_state["temporal_prompts"][:1]
    return encoder, config, adapter_state


def read(path: Path) -> dict[str, Tensor]:
    """Tensors by the original's names, in float32.

    Raises:
        ModelError: no such file, not a checkpoint, or one that holds more than data.
    """
    for tensors in _dicts(open_file(path)):
        first = next((name for name in tensors if name.endswith(_PATCHES)), None)
        if first is not None:
            prefix = first.removesuffix(_PATCHES)
            state = {n.removeprefix(prefix): t.float() for n, t in tensors.items()}
            if _PROMPTS in state or any(_ADAPTER.fullmatch(name) for name in state):
                return state
    raise ModelError(
        f"{path} is not an EZ-CLIP checkpoint: no part of it holds {_PATCHES!r} and {_PROMPTS!r} "
        "or adapters; a plain CLIP is loaded with openclip:FILE"
    )


def split(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Original names to those of an open_clip ``CLIP`` and of the adapter's own state.

    The temporal embedding, which the original adds but never trains, is left out where it is 0.
    """
    towers: dict[str, Tensor] = {}
    adapter_state: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        match = _ADAPTER.fullmatch(name)
        if match:
            kind = "text" if not match["tower"] else "visual"
            kind = "time" if match["kind"] == "T_Adapter" else kind
            layer = "down" if match["layer"] == "1" else "up"
            adapter_state[f"{kind}_adapters.{match['block']}.{layer}.{match['what']}"] = tensor
        elif name == _PROMPTS:
            adapter_state["temporal_prompts"] = tensor
        elif name == _MOMENTS:
            if tensor.any():
                adapter_state["temporal_embedding"] = tensor.reshape(tensor.shape[-2:])
        else:
            towers[name] = tensor
    return towers, adapter_state


def found_settings(own: Mapping[str, Tensor], encoder: TorchEncoder) -> JsonDict:
    """Settings by names and shapes of the own state."""
    settings: JsonDict = {
        "prompts": "none",
        "time_adapters": "time_adapters.0.down.weight" in own,
        "temporal_embedding": "temporal_embedding" in own,
    }
    for tower in ("visual", "text"):
        weight = own.get(f"{tower}_adapters.0.down.weight")
        settings[f"{tower}_hidden"] = 0 if weight is None else len(weight)
    if "temporal_embedding" in own:
        settings["n_frames"] = len(own["temporal_embedding"])
    if "temporal_prompts" in own:
        rows, settings["n_frames"], _ = own["temporal_prompts"].shape
        deep = rows > 1 or len(encoder.towers.vision_view().blocks) == 1
        settings["prompts"] = "deep" if deep else "shallow"
    return settings


def _dicts(stored: Mapping[str, Any]) -> Iterator[dict[str, Tensor]]:
    """The dicts of tensors in a checkpoint, itself first."""
    for entry in (stored, *stored.values()):
        if isinstance(entry, Mapping):
            yield {str(n): t for n, t in entry.items() if isinstance(t, Tensor)}

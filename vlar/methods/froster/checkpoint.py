"""Reads the checkpoints of the original FROSTER.

Layout: the student's CLIP by the names of open_clip behind ``model.``, plug-in blocks next to its
own, the teacher's behind ``raw_model.``, ``projector_v`` and ``projector_t``; teacher and
projectors may be missing. Tensors are read; nothing in the file is executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlar.encoders.spec import number, split_options
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError
from vlar.training.clip_weights import check_fits, fill, open_base, open_file, openai_architecture
from vlar.types import JsonDict

_OPTIONS = ("base", "ensemble", "radius", "distance", "prompts")
_ENTRIES = ("model_state", "state_dict", "model")  # where a trainer may have put the tensors
_STUDENT, _TEACHER = "model.", "raw_model."
_BLOCKS = "visual.transformer.resblocks."
_PROJECTORS = {
    "projector_v.0.weight": "projectors.vision.fc1.weight",
    "projector_v.2.weight": "projectors.vision.fc2.weight",
    "projector_t.0.weight": "projectors.text.fc1.weight",
    "projector_t.2.weight": "projectors.text.fc2.weight",
}
_PLUG_INS = {
    "ffn_adapter.adapter.0": "feed.down",
    "ffn_adapter.adapter.2": "feed.up",
    "t_adapter.adapter.0": "time.down",
    "t_adapter.adapter.2": "time.up",
    "s_adapter.adapter.0": "space.down",
    "s_adapter.adapter.2": "space.up",
    "stadapt_down_1": "down",
    "stadapt_up_1": "up",
    "stadapt_conv3d_1": "time",
    "message_fc": "message",
    "message_ln": "norm",
    "message_attn": "attention",
}
_TELL = {
    "t_adapter": "aim",
    "ffn_adapter": "adapter",
    "stadapt_": "st-adapter",
    "message_": "cross-frame",
}
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
_BESIDE = "FROSTER's parts"


def load(argument: str) -> tuple[TorchEncoder, JsonDict, dict[str, Tensor]]:
    """The teacher, the settings, and the adapter's own state as far as the file has it.

    Args:
        argument: See ``Froster.from_spec``.
    """
    file, options = split_options(argument, _OPTIONS)
    share = number("ensemble", options.get("ensemble", "1"), float)
    radius = number("radius", options.get("radius", "1"), int)
    if not 0 <= share <= 1:
        raise ModelError(f"ensemble={share} must lie between 0 and 1; 1 is the fine-tuned model")
    path = Path(file).expanduser()
    tensors = read(path)
    student, teacher, adapter_state = split(tensors)
    encoder = _open_base(path, options.get("base"), student, teacher)
    base = dict(encoder.towers.model.named_parameters())
    check_fits(path, encoder, base, student, others=_BESIDE)
    with torch.no_grad():
        for name, tensor in student.items():
            new = tensor.to(base[name])
            adapter_state[f"student.towers.{name}"] = (
                new if share == 1 else base[name].lerp(new, share)
            )
    settings = {"temporal": temporal(tensors), "radius": radius, "tune_towers": True}
    if "prompts" in options:
        settings["prompts"] = options["prompts"]
    more = {name: options[name] for name in ("distance",) if name in options}
    return encoder, {"student": "tuned", "student_settings": settings, **more}, adapter_state


def read(path: Path) -> dict[str, Tensor]:
    """Tensors by the original's names.

    Raises:
        ModelError: no such file, not a checkpoint, or one that holds more than data.
    """
    stored: Mapping[str, Any] = open_file(path)
    for entry in _ENTRIES:
        inner = stored.get(entry)
        if isinstance(inner, Mapping):
            stored = inner
            break
    named = {str(name).removeprefix("module."): value for name, value in stored.items()}
    tensors = {name: t.float() for name, t in named.items() if isinstance(t, Tensor)}
    if f"{_STUDENT}visual.conv1.weight" not in tensors:
        raise ModelError(
            f"{path} is not a FROSTER checkpoint: it has no 'model.visual.conv1.weight'; a plain "
            "CLIP is loaded with openclip:FILE"
        )
    return tensors


def temporal(tensors: Mapping[str, Tensor]) -> str:
    """Blocks of the student; without a plug-in the windows of neighbouring frames."""
    for part, kind in _TELL.items():
        if any(f".{part}" in name for name in tensors):
            return kind
    return "window"


def split(
    tensors: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Original names to student and teacher by open_clip's names, and to the adapter's own."""
    student: dict[str, Tensor] = {}
    teacher: dict[str, Tensor] = {}
    adapter_state: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in _PROJECTORS:
            adapter_state[_PROJECTORS[name]] = tensor
        elif name.startswith(_TEACHER):
            teacher[name.removeprefix(_TEACHER)] = tensor
        else:
            inner = name.removeprefix(_STUDENT)
            ours = _plug_in(inner)
            if ours is None:
                student[inner] = tensor
            else:
                # A convolution of one pixel is a linear layer.
                linear = ours.endswith(("down.weight", "up.weight"))
                adapter_state[ours] = tensor.flatten(1) if linear else tensor
    return _weights(student), _weights(teacher), adapter_state


def _plug_in(name: str) -> str | None:
    number, _, tail = name.removeprefix(_BLOCKS).partition(".")
    if not name.startswith(_BLOCKS):
        return None
    for original, ours in _PLUG_INS.items():
        if tail.startswith(f"{original}."):
            return f"student.mixers.{number}.{ours}{tail.removeprefix(original)}"
    return None


def _weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t for name, t in state.items() if name not in _NO_WEIGHTS}


def _open_base(
    path: Path, base: str | None, student: dict[str, Tensor], teacher: dict[str, Tensor]
) -> TorchEncoder:
    """The teacher: the one in the file, else the base itself."""
    if base is None:
        arch = openai_architecture(path, student["visual.conv1.weight"])
        tag = "?random_init=true" if teacher else "/openai"  # all of it is then overwritten
        base = f"openclip:{arch}{tag}"
    encoder = open_base(base)
    return fill(encoder, teacher, path, others=_BESIDE) if teacher else encoder

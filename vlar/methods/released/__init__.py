"""Published networks of videos and several sensors: released files answer as the originals do.

``load("i3d", "rgb_imagenet.pt")`` gives a plain ``torch.nn.Module`` whose ``forward`` takes the
inputs by keyword and returns logits.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlar.errors import UsageError
from vlar.toml import read_toml

if TYPE_CHECKING:
    from torch import Tensor, nn

#: The module and class of each network, and the settings of its released size.
FULL: dict[str, tuple[str, dict[str, Any]]] = {
    name: (str(row.pop("network")), row)
    for name, row in read_toml(Path(__file__).with_name("full.toml").read_text("utf-8")).items()
}
#: Heads by their number of classes, and the networks that answer as encoders.
NETWORKS = read_toml(Path(__file__).with_name("networks.toml").read_text("utf-8"))


def build(name: str, config: dict[str, Any] | None = None) -> nn.Module:
    """A published network with random weights.

    Args:
        name: One of ``FULL``.
        config: Its settings; those of the released size by default.

    Raises:
        UsageError: no such network, or a setting is missing.
    """
    from importlib import import_module

    module, _, cls = _row(name)[0].partition(".")
    try:
        return getattr(import_module(f"{__name__}.{module}"), cls)(config or FULL[name][1])
    except KeyError as error:
        raise UsageError(f"the settings of {name} lack {error.args[0]!r}") from error


def load(name: str, path: str | Path) -> nn.Module:
    """A published network with the weights of a file, in evaluation mode.

    Args:
        name: One of ``FULL``, such as ``videomae_v2``, ``i3d``, ``trx``, ``gsf_resnet50``.
        path: ``.pt``, ``.pth`` or ``.safetensors``; settings of another size in ``<path>.json``.

    Returns:
        A module; ``forward`` takes the inputs by keyword and returns logits.

    Raises:
        UsageError: no such network, or names or shapes do not fit; the message counts them.
        ModelError: the file is missing or damaged, or holds more than data.
    """
    from vlar.training import released

    _, settings = _row(name)
    state, config = released.read(path)
    state = _renamed(name, state)
    network = build(name, {**settings, **_of_file(name, state), **config})
    optional = ("pe.pe",)  # tables that the network computes itself
    return released.fill(network, state, path, optional=optional)


def _row(name: str) -> tuple[str, dict[str, Any]]:
    if name not in FULL:
        raise UsageError(f"no released network {name!r}; there are {', '.join(FULL)}")
    return FULL[name]


def _renamed(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without what a wrapper puts in front, and old names as they are now."""
    if name == "videomae_v2":
        for front in ("_orig_mod.", "model.", "backbone.", "encoder."):
            state = {key.removeprefix(front): value for key, value in state.items()}
    elif name == "videomae_v1_transformers":
        old = re.compile(r"attention\.attention\.(q|v)_bias$")
        new = {"q": "query", "v": "value"}
        state = {
            old.sub(lambda m: f"attention.attention.{new[m[1]]}.bias", key): value
            for key, value in state.items()
        }
    elif name == "dear":  # the body is a network of its own; these are the heads
        state = {key: value for key, value in state.items() if not key.startswith("backbone.")}
    return state


def _of_file(name: str, state: dict[str, Tensor]) -> dict[str, Any]:
    """Settings that the shapes of a file give."""
    settings: dict[str, Any] = {}
    for key, setting in NETWORKS["classes"].items():
        if key in state and setting in FULL[name][1]:
            settings[setting] = len(state[key])
    first = {"i3d": "Conv3d_1a_7x7", "i3d_hassony2": "conv3d_1a_7x7"}.get(name)
    if first and f"{first}.conv3d.weight" in state:
        settings["in_channels"] = state[f"{first}.conv3d.weight"].shape[1]
    if name == "dear" and "cls_head.fc_cls.weight" in state:
        settings["channels"] = state["cls_head.fc_cls.weight"].shape[1]
    if name == "videomae_v2" and "patch_embed.proj.weight" in state:
        settings |= _tower(state, "", "")
    if name == "videomae_v2_pretrain" and "encoder.patch_embed.proj.weight" in state:
        settings |= _tower(state, "encoder.", "encoder_")
        settings |= _decoder(state)
    return settings


def _depth(state: dict[str, Tensor], front: str) -> int:
    pattern = re.compile(re.escape(front) + r"blocks\.(\d+)\.")
    return 1 + max((int(m[1]) for key in state if (m := pattern.match(key))), default=0)


def _tower(state: dict[str, Tensor], front: str, prefix: str) -> dict[str, Any]:
    from vlar.methods.released.video_mae import HEADS

    patches = state[f"{front}patch_embed.proj.weight"]
    width, hidden = patches.shape[0], state.get(f"{front}blocks.0.mlp.fc1.weight")
    settings = {
        f"{prefix}embed_dim": width,
        f"{prefix}depth": _depth(state, front),
        f"{prefix}num_heads": HEADS.get(width, 12),
        "patch_size": patches.shape[-1],
        "tubelet_size": patches.shape[2],
    }
    return settings | ({} if hidden is None else {"mlp_ratio": len(hidden) / width})


def _decoder(state: dict[str, Tensor]) -> dict[str, Any]:
    from vlar.methods.released.video_mae import DECODER_HEADS

    head = state.get("decoder.head.weight")
    if head is None:
        return {}
    return {
        "decoder_embed_dim": head.shape[1],
        "decoder_depth": _depth(state, "decoder."),
        "decoder_num_heads": DECODER_HEADS.get(head.shape[1], 6),
        "decoder_num_classes": head.shape[0],
    }

"""Puts the CLIP of a released checkpoint into an encoder of ours."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlar.adapters.checkpoints.pickles import load_inert
from vlar.encoders.base import load_encoder
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError
from vlar.safety.arrays import read_header
from vlar.safety.checkpoints import MOST

_BASES = {(768, 16): "ViT-B-16", (768, 32): "ViT-B-32", (1024, 14): "ViT-L-14"}


def open_file(path: Path) -> dict[str, Any]:
    """What a checkpoint holds; nothing in it is executed.

    Raises:
        ModelError: no such file, not a checkpoint, or one that holds more than data.
    """
    if not path.exists():
        raise ModelError(f"no checkpoint at {str(path)!r}; check the path")
    if path.suffix != ".safetensors":
        return load_inert(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        read_header(path, MOST)
        return dict(load_file(path))
    except (OSError, SafetensorError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ModelError(f"{path} is not a readable checkpoint ({why})") from error


def openai_architecture(path: Path, patches: Tensor) -> str:
    """OpenAI's CLIP of the same shape, as open_clip names it.

    Args:
        path: The checkpoint, for the message.
        patches: Weights of the patch convolution.

    Raises:
        ModelError: OpenAI released none.
    """
    shape = patches.shape
    arch = _BASES.get((shape[0], shape[-1]))
    if arch is None:
        raise ModelError(
            f"{path} is a ViT of width {shape[0]} with {shape[-1]} pixel patches, which OpenAI "
            "never released; give the CLIP it was trained from as base=openclip:..."
        )
    return f"{arch}-quickgelu"


def open_base(spec: str) -> TorchEncoder:
    """The CLIP whose weights a checkpoint replaces.

    Raises:
        ModelError: it is none of open_clip's, whose names the originals use.
    """
    encoder = load_encoder(spec)
    if not isinstance(encoder, TorchEncoder) or "visual.conv1.weight" not in _names(encoder):
        raise ModelError(f"base {spec!r} is not a CLIP of open_clip; use base=openclip:...")
    return encoder


def check_fits(
    path: Path,
    base: TorchEncoder,
    expected: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    *,
    others: str,
) -> None:
    """Refuse weights that are not exactly those expected.

    Args:
        path: The checkpoint, for messages.
        base: The encoder they go into, for messages.
        expected: Parameters by name.
        weights: What the checkpoint has for them.
        others: What else the file may hold, for messages.

    Raises:
        ModelError: names or shapes differ; the message names the first.
    """
    for name in sorted(expected.keys() ^ weights.keys()):
        what = "lacks" if name in expected else f"has, besides a CLIP and {others},"
        raise ModelError(f"{path} {what} {name!r}; give the CLIP it was trained from as base=...")
    for name, tensor in weights.items():
        if expected[name].shape != tensor.shape:
            raise ModelError(
                f"{name!r} of {path} is {tuple(tensor.shape)}, of its base {base.name} "
                f"{tuple(expected[name].shape)}; give the CLIP it was trained from as base=..."
            )


@torch.no_grad()
def fill(
    encoder: TorchEncoder,
    weights: dict[str, Tensor],
    path: Path,
    *,
    kept: Collection[str] = (),
    share: float = 1.0,
    others: str = "the method's parts",
) -> TorchEncoder:
    """Put weights into a base; it is used up.

    Args:
        encoder: From ``open_base``.
        weights: By the names of open_clip, every one of them except ``kept``.
        path: The checkpoint, for messages.
        kept: Parameters the base keeps.
        share: Of the new weights against those of the base, above 0 and up to 1.
        others: What else the file may hold, for messages.

    Returns:
        The encoder with the numbers (scale, fingerprint) of its new weights.

    Raises:
        ModelError: names or shapes differ; the message names the first.
    """
    parameters = dict(encoder.towers.model.named_parameters())
    expected = {name: p for name, p in parameters.items() if name not in kept}
    check_fits(path, encoder, expected, weights, others=others)
    for name, tensor in weights.items():
        target = parameters[name]
        new = tensor.to(target)
        target.copy_(new if share == 1 else torch.lerp(target, new, share))
    name = f"{encoder.name} with the weights of {path.name}"
    return TorchEncoder(encoder.towers, name, n_frames=encoder.n_frames)


def _names(encoder: TorchEncoder) -> set[str]:
    return set(encoder.towers.model.state_dict())

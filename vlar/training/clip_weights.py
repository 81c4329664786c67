"""Puts the CLIP of a released checkpoint into an encoder of ours."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from vlar.encoders.base import load_encoder
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError
from vlar.files.arrays import read_header
from vlar.files.checkpoints import MOST, check_archive, check_tensors

_INERT = ("omegaconf.", "typing.", "yacs.config.", "easydict.", "dotmap.", "numpy.", "pathlib.")
_PLAIN = {
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in ("dict", "list", "tuple", "set", "int", "float", "str", "bool", "object")
} | {"collections.defaultdict", "collections.OrderedDict"}
_DAMAGED = (
    *(RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError),
    *(MemoryError, OverflowError),
)
_MOST_LEAVES = 100_000


class Shell:
    """Stands in for an object of the file: keeps what it was built from, does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Shell:
        """Keep the arguments."""
        shell = super().__new__(cls)
        shell.__dict__["arguments"] = (args, kwargs)
        return shell

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Arguments were kept already."""

    def __setstate__(self, state: Any) -> None:
        """Keep the state."""
        self.__dict__["state"] = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep an entry of a dict-like object."""
        self.__dict__.setdefault("entries", {})[_plain(key)] = value


def load_inert(path: Path) -> dict[str, Any]:
    """The dict of a checkpoint; objects of configuration libraries in it are ``Shell`` s.

    Raises:
        ModelError: the file is damaged, or holds anything but data.
    """
    try:
        archive = check_archive(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    try:
        with warnings.catch_warnings(), safe_globals(_shells(path) if archive else []):
            warnings.simplefilter("ignore")  # about the protocol of a file that is refused anyway
            stored = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
        check_tensors(stored, path.stat().st_size)
    except pickle.UnpicklingError as error:
        wants = re.search(r"GLOBAL (\S+)", str(error))
        why = f"it wants to call {wants[1]}" if wants else "it is a pickle of more than tensors"
        raise _refused(path, why) from error
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    if not isinstance(stored, dict):
        raise ModelError(f"{path} holds a {type(stored).__name__}, not a dict of tensors")
    return stored


def _shells(path: Path) -> list[Any]:
    """A stand-in for each foreign name in the file.

    Raises:
        ModelError: a name is not on the list of harmless ones.
    """
    names = get_unsafe_globals_in_checkpoint(path)
    foreign = [n for n in names if not n.startswith(_INERT) and n not in _PLAIN]
    if foreign:
        raise _refused(path, f"it wants to call {', '.join(sorted(foreign))}")
    return [(type(name.rpartition(".")[2], (Shell,), {}), name) for name in sorted(names)]


def _damaged(path: Path, error: Exception) -> ModelError:
    why = error.strerror if isinstance(error, OSError) else None
    message = str(error) if isinstance(error, ValueError) else type(error).__name__
    return ModelError(
        f"{path} is not a readable checkpoint ({why or message}); check where it is from"
    )


def _refused(path: Path, why: str) -> ModelError:
    return ModelError(
        f"{path} was refused and nothing in it was run: {why}. A checkpoint needs tensors only; "
        "if you trust its source, load it there and save its tensors as safetensors"
    )


def leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    """Names and values at the ends of a configuration tree, plain or made of ``Shell`` s.

    Raises:
        ModelError: it has more of them than a configuration; parts that are shared count each time.
    """
    for count, leaf in enumerate(_leaves(tree)):
        if count >= _MOST_LEAVES:
            raise ModelError(
                f"the checkpoint's configuration has more than {_MOST_LEAVES:,} entries; save its "
                "tensors alone as safetensors, where you trust them"
            )
        yield leaf


def _leaves(node: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if depth > 40:  # a configuration is shallow; a cycle is not followed for ever
        return
    if isinstance(node, Shell):
        state = node.__dict__.get("state")
        inner = state if isinstance(state, Mapping) else node.__dict__.get("entries")
        if isinstance(inner, Mapping):
            # OmegaConf keeps children in _content, values in _val, and a link up in _parent.
            content = inner.get("_content", inner.get("_val", inner))
            yield from _leaves(content, name, depth + 1)
    elif isinstance(node, Mapping):
        for key, value in node.items():
            if key != "_parent" and key != "_metadata":
                yield from _leaves(value, str(_plain(key)), depth + 1)
    else:
        yield name, node


def _plain(key: Any) -> Any:
    return key if isinstance(key, str | int | float | bool) else str(key)


_BASES = {(768, 16): "ViT-B-16", (768, 32): "ViT-B-32", (1024, 14): "ViT-L-14"}


def open_file(path: Path) -> dict[str, Any]:
    """Contents of a checkpoint; nothing in it is executed.

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
        share: Share of the new weights against those of the base, above 0 and up to 1.
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

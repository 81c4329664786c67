"""Networks of clips without texts: their weights, every tensor of them, and their face."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import functools
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vlar.encoders.clip.options import place_model
from vlar.encoders.clip.pixels import Pixels
from vlar.encoders.clip.towers import Towers, towers_without_text
from vlar.encoders.clip.trust import check_weights
from vlar.encoders.spec import INT8, joined, number, split_options, yes
from vlar.errors import ModelError, UsageError

LOGIT_SCALE = 10.0
OPTIONS = ("device", "precision", "random_init", "weights", "frames", "size", "empty")
_MOST_FRAMES = 1024
_SIZES = 16, 1024  # pixels
_HEADS = (
    "fc",
    "head",
    "heads",
    "classifier",
)  # names of what comes last in networks of torchvision


def frames_asked(options: Mapping[str, str], usual: int, least: int, what: str) -> int:
    """T of a clip: the option ``frames``, else the usual number.

    Raises:
        UsageError: it is below the least number that the network takes, or above 1,024.
    """
    frames = number("frames", options["frames"], int) if "frames" in options else usual
    if not max(least, 1) <= frames <= _MOST_FRAMES:
        raise UsageError(
            f"{what} takes {max(least, 1)} to {_MOST_FRAMES} frames a clip, got frames={frames}; "
            f"leave the option out for {usual}"
        )
    return frames


def started(make: Callable[[], nn.Module]) -> nn.Module:
    """A network with seeded random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def fill(model: nn.Module, options: Mapping[str, str], what: str) -> None:
    """Load the file that the option ``weights`` names into a network, every tensor of it.

    With ``empty`` all weights are zero: the shape alone, for saved models that hold the weights.

    Raises:
        ModelError: no file is named and ``random_init`` is off, it cannot be read, or it is not
            that of the network; the message names the first difference.
    """
    if "weights" not in options:
        if yes(options, "empty"):
            for tensor in model.state_dict().values():
                tensor.zero_()
        if yes(options, "random_init") or yes(options, "empty"):
            return
        raise ModelError(
            f"{what} has no weights: name a file, {what}?weights=FILE (safetensors, or .pth with "
            "tensors only), or start it at random with random_init=true"
        )
    path = Path(options["weights"]).expanduser()
    state, expected = read_state(path), model.state_dict()
    wrong = f"{path} is not the weights of {what}"
    for name, tensor in expected.items():
        if name not in state:
            near = difflib.get_close_matches(name, state, 1)
            raise ModelError(f"{wrong}: it lacks {name!r}{f'; it has {near[0]!r}' if near else ''}")
        if state[name].shape != tensor.shape:
            raise ModelError(
                f"{wrong}: {name!r} is {tuple(state[name].shape)} in it, "
                f"{tuple(tensor.shape)} in the network"
            )
        if state[name].is_floating_point() and not bool(state[name].isfinite().all()):
            raise ModelError(f"{path}: {name!r} holds numbers that are not finite; fetch it again")
    if more := sorted(state.keys() - expected.keys()):
        raise ModelError(f"{wrong}: the network has no {more[0]!r}")
    model.load_state_dict(state)


def empty_spec(name: str) -> str:
    """The spec of a network with zeros for its weights, which no file is needed for."""
    kind, _, argument = name.partition(":")
    target, options = split_options(argument, (*OPTIONS, "stream"))
    settings = {k: v for k, v in options.items() if k not in ("weights", "random_init", "empty")}
    return f"{kind}:{joined(target, {**settings, 'empty': 'true'})}"


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; nothing in it is executed.

    Raises:
        ModelError: it is missing, damaged, or holds more than tensors.
    """
    if not path.exists():
        raise ModelError(f"no weights at {str(path)!r}; check the path")
    check_weights(path, str(path))
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        stored: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        SafetensorError,
        ValueError,
        RuntimeError,
        EOFError,
        LookupError,
        pickle.UnpicklingError,
    ) as error:
        why = " ".join(str(error).split())[:120]
        raise ModelError(
            f"{path} cannot be read as weights ({why}); give a file of tensors only, such as "
            "safetensors"
        ) from error
    stored = stored.get("state_dict", stored) if isinstance(stored, Mapping) else stored
    if not isinstance(stored, Mapping) or not all(isinstance(v, Tensor) for v in stored.values()):
        raise ModelError(f"{path} holds more than tensors by name; save its state_dict alone")
    return {str(name): tensor for name, tensor in stored.items()}


def without_head(model: nn.Module) -> nn.Module:
    """The network up to what its classifier reads."""
    name = next(name for name in _HEADS if hasattr(model, name))
    setattr(model, name, nn.Identity())
    return model


def sized(transform: Any, options: Mapping[str, str], what: str) -> Any:
    """A transform of torchvision that cuts pictures of the option ``size``, or the given one.

    Raises:
        UsageError: the size is below 16 pixels or above 1,024.
    """
    if "size" not in options:
        return transform
    size, transform_copy = number("size", options["size"], int), copy.copy(transform)
    if not _SIZES[0] <= size <= _SIZES[1]:
        raise UsageError(f"{what} takes pictures of {_SIZES[0]} to {_SIZES[1]} pixels, got {size}")
    share = size / transform.crop_size[0]
    transform_copy.crop_size = [size] * len(transform.crop_size)
    transform_copy.resize_size = [round(side * share) for side in transform.resize_size]
    return transform_copy


def pixels_of(transform: Any) -> Pixels:
    """The pixels that a transform of torchvision makes, as vlar states them."""
    side = int(transform.crop_size[0])
    return Pixels(
        side,
        side,
        tuple(transform.mean),
        tuple(transform.std),
        interpolation=transform.interpolation.value,
        shorter=int(transform.resize_size[0]),
    )


def width(model: nn.Module, shape: Sequence[int], what: str) -> int:
    """F of a network that takes (N, *shape), found without computing anything.

    Raises:
        ModelError: it does not take them.
    """
    try:
        with torch.inference_mode():
            empty = torch.zeros(1, *shape, device="meta")
            return int(copy.deepcopy(model).to("meta").eval()(empty).flatten(1).shape[-1])
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise ModelError(
            f"{what} does not take clips (3, T, H, W) of {tuple(shape)} "
            f"({' '.join(str(error).split())[:80]}); choose another network, size or frames"
        ) from error


def wordless_towers(
    model: nn.Module,
    image: Callable[[Any, Tensor], Tensor],
    pixels: Pixels,
    *,
    dim: int,
    what: str,
    licence: str,
    loading: Mapping[str, Any],
) -> Towers:
    """The face of a network, frozen and placed.

    Args:
        model: Everything that is hashed and frozen.
        image: A network and pixels of clips (N, T, 3, height, width) to (N, rows, F).
        pixels: How frames become pixels.
        dim: F.
        what: Names the network in messages.
        licence: Licence of the weights.
        loading: ``device`` and ``precision``.

    Raises:
        ModelError: int8 was asked for.
    """
    if loading["precision"] == INT8:
        raise ModelError(f"{what} does not run in int8; use bf16 or float32")
    place_model(model, loading["device"], loading["precision"], what)
    why = f"{what} was trained without texts"

    def face(own: nn.Module) -> Towers:
        read = functools.partial(image, own)
        towers = towers_without_text(
            own, read, pixels, dim=dim, scale=LOGIT_SCALE, licence=licence, why=why
        )
        return dataclasses.replace(towers, rebuild=face)

    return face(model)

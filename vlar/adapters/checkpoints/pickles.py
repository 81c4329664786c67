"""Reads pickled checkpoints without running anything in them.

``torch.load(weights_only=True)`` builds tensors and plain containers only. Configuration objects of
a few known libraries are let through as inert shells that hold their data; any other name in
the file is a refusal.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from vlar.errors import ModelError
from vlar.safety.checkpoints import check_archive, check_tensors

_INERT = ("omegaconf.", "typing.", "yacs.config.", "easydict.", "dotmap.", "numpy.", "pathlib.")
_PLAIN = {
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in ("dict", "list", "tuple", "set", "int", "float", "str", "bool", "object")
} | {"collections.defaultdict", "collections.OrderedDict"}
_DAMAGED = (
    RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError,
    MemoryError, OverflowError,
)  # fmt: skip
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
    own = str(error) if isinstance(error, ValueError) else type(error).__name__
    return ModelError(f"{path} is not a readable checkpoint ({why or own}); check where it is from")


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

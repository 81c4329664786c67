"""Parts by kind and name: ``@register("encoder", "lite")``.

A part is one file in the package of its kind (``vlar/encoders/lite.py``); nothing else lists it.
Third parties add parts through the entry point group ``vlar.<kind>s`` (for example
``vlar.encoders``). Modules are imported at the first look-up of their kind, so they import heavy
libraries inside functions only.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Any, TypeVar

from vlar.errors import UnknownNameError

T = TypeVar("T")

_parts: dict[str, dict[str, Any]] = {}
_discovered: set[str] = set()
_PACKAGES = {
    "encoder": "vlar.encoders",
    "adapter": "vlar.adapters",
    "fewshot": "vlar.fewshot",
    "ann": "vlar.index",
    "describer": "vlar.describing",
    "learner": "vlar.training",
    "recipe": "vlar.training.recipes",
}


def register(kind: str, name: str) -> Callable[[T], T]:
    """Class decorator that makes a part known as ``name``.

    Raises:
        ValueError: the name is taken by another part, or is not lower case.
    """
    if name != name.lower() or not name:
        raise ValueError(f"part name {name!r} must be lower case and not empty")

    def add(part: T) -> T:
        known = _parts.setdefault(kind, {})
        other = known.get(name)
        if other is not None and _identity(other) != _identity(part):
            raise ValueError(f"{kind} {name!r} is already registered by {_identity(other)}")
        known[name] = part
        return part

    return add


def names(kind: str) -> list[str]:
    """All registered names of a kind, sorted."""
    _discover(kind)
    return sorted(_parts.get(kind, {}))


def get(kind: str, name: str) -> Any:
    """The part registered as ``name``.

    Raises:
        UnknownNameError: no such part; the message lists the known names and the nearest.
    """
    _discover(kind)
    known = _parts.get(kind, {})
    if name not in known:
        raise unknown_name(kind, name, known)
    return known[name]


def unknown_name(what: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not among ``known``, with the nearest one suggested."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    listed = ", ".join(choices) or "none"
    return UnknownNameError(f"no {what} is called {name!r}{hint} Known: {listed}.")


def _identity(part: Any) -> str:
    return f"{part.__module__}.{part.__qualname__}"


def _discover(kind: str) -> None:
    if kind in _discovered:
        return
    _discovered.add(kind)
    if kind in _PACKAGES:
        package = importlib.import_module(_PACKAGES[kind])
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    for entry in metadata.entry_points(group=f"vlar.{kind}s"):
        entry.load()

"""Dotted names that the specification mentions: where each is today."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
MOVED: dict[str, str] = json.loads((FOLDER / "moved.json").read_text("utf-8"))


def find(name: str) -> Any:
    """The module, class, function or constant of a dotted name of today.

    Raises:
        ImportError: the module does not exist, or lacks the name.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
    module, _, last = name.rpartition(".")
    found = importlib.import_module(module)
    try:
        return getattr(found, last)
    except AttributeError as error:
        raise ImportError(f"{module} has no {last!r}") from error


def resolve(name: str) -> Any:
    """What a dotted name of any version is today."""
    return find(MOVED.get(name, name))

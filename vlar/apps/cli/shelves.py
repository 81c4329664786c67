"""Verbs and modules of the shelves, which an installation may lack.

The core of vlar and its command line run without training, methods, behaviour, generators,
evaluation, plugins and the other applications. Nothing here imports them by name: verbs are found
in the folders ``verbs`` of what is installed; ``vlar.registry.shelf`` loads what an option needs.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from vlar.errors import PackageError
from vlar.registry import shelf

_ROOT = Path(__file__).parents[2]


def verbs(group: str = "") -> dict[str, tuple[str, str]]:
    """Module and first sentence of the help, by the verbs of the shelves that are installed.

    Args:
        group: A group of verbs, such as ``index``, whose verbs a shelf names ``index.NAME``.
    """
    packages = [f"vlar.{file.parts[-3]}.verbs" for file in _ROOT.glob("*/verbs/__init__.py")]
    return {
        verb.rpartition(".")[2]: (f"{package}.{module}", summary)
        for package in sorted(packages)
        for row in importlib.import_module(package).VERBS.strip().split("\n")
        for verb, module, needs, summary in [row.split(" ", 3)]
        if verb.rpartition(".")[0] == group and is_installed(needs)
    }


def is_installed(package: str) -> bool:
    """Return whether this installation has a package, such as ``methods.events``."""
    return _ROOT.joinpath(*package.split("."), "__init__.py").is_file()


@dataclass(frozen=True)
class _NoOptions:
    """Request of a shelf that is missing."""


def request(module: str, name: str) -> type:
    """A request of a shelf, whose fields are options of a verb; without the shelf it has none."""
    try:
        return getattr(shelf(module, name), name)
    except PackageError:
        return _NoOptions

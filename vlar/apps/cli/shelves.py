"""Verbs and modules of the shelves, which an installation may lack.

The core of vlar and its command line run without methods, generators, evaluation, plugins and the
other applications. Nothing here imports them by name: verbs are found in the folder of verbs, and a
module that an option needs is loaded when the option is used.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

from vlar.errors import PackageError
from vlar.version import pip_install

PACKAGE = "vlar.apps.verbs"


def verbs() -> dict[str, tuple[str, str]]:
    """Module and first sentence of the help, by the verbs of the shelves that are installed."""
    if find_spec(PACKAGE) is None:
        return {}
    rows = [row.split(" ", 3) for row in importlib.import_module(PACKAGE).VERBS.strip().split("\n")]
    return {
        verb: (f"{PACKAGE}.{module}", summary)
        for verb, module, needs, summary in rows
        if find_spec(f"vlar.{needs}") is not None
    }


def load(module: str, what: str) -> Any:
    """A module of a shelf.

    Args:
        module: Its name after ``vlar.``, such as ``apps.audit``.
        what: The option that needs it, for the message.

    Raises:
        PackageError: it is not part of this installation.
    """
    name = f"vlar.{module}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not (error.name and f"{name}.".startswith(f"{error.name}.")):
            raise
        raise PackageError(
            f"{what} needs {name}, which this installation lacks; run: {pip_install()}"
        ) from error

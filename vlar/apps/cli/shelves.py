"""Verbs and modules of the shelves, which an installation may lack.

The core of vlar and its command line run without methods, generators, evaluation, plugins and the
other applications. Nothing here imports them by name: verbs are found in the folder of verbs, and a
module that an option needs is loaded when the option is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from vlar.errors import PackageError
from vlar.version import pip_install

PACKAGE = "vlar.apps.verbs"


def verbs() -> Iterator[Callable[..., int]]:
    """The verbs of the shelves that are installed.

    A module of verbs lists them in ``VERBS``, and in ``NEEDS`` the package without which it does
    nothing; its verbs are left out where that is missing.
    """
    if find_spec(PACKAGE) is None:
        return
    for name in importlib.import_module(PACKAGE).MODULES:
        module = importlib.import_module(f"{PACKAGE}.{name}")
        if find_spec(module.NEEDS) is not None:
            yield from module.VERBS


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

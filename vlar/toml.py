"""TOML: whole texts, and single values written as in it."""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]


def read_toml(text: str) -> dict[str, Any]:
    """The tables of a text.

    Raises:
        ValueError: it is not TOML.
        RecursionError: it is nested too deep.
    """
    return tomllib.loads(text)


def toml_value(text: str) -> Any:
    """A value as TOML writes it; anything else is a text.

    >>> toml_value("[1, 2]"), toml_value("ridge")
    ([1, 2], 'ridge')

    Args:
        text: What stands after the ``=``.

    Returns:
        A number, text, list, table, date or bool.
    """
    try:
        return read_toml(f"value = {text}")["value"]
    except ValueError:
        return text

"""Warnings about public names that go: their successor, and the version that removes them.

A public name lives for two minor versions after its first warning (docs/support.md).
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar, cast

_LIVES = 2  # minor versions
_Part = TypeVar("_Part", bound=Callable[..., Any])


class VlarDeprecationWarning(FutureWarning):
    """Warning about a name that a later version removes. It is shown to users by default."""


@dataclass(frozen=True)
class Deprecation:
    """End of a public name: an object, an argument, an option, a key, a path or a tool.

    Attributes:
        name: Public name, as users write it.
        successor: What users write in its place.
        since: First version that warns, such as "0.2".
    """

    name: str
    successor: str
    since: str

    @property
    def until(self) -> str:
        """First version without the name."""
        major, minor = self.since.split(".")[:2]
        return f"{major}.{int(minor) + _LIVES}"

    @property
    def message(self) -> str:
        """Text of the warning, one line."""
        return (
            f"{self.name} is deprecated since vlar {self.since} and goes with {self.until}; "
            f"use {self.successor}"
        )

    def warn(self, depth: int = 1) -> None:
        """Warn the caller.

        Args:
            depth: Frames between the caller and this call, 1 for a call in the deprecated function.
        """
        warnings.warn(self.message, VlarDeprecationWarning, stacklevel=depth + 2)


def deprecated(successor: str, *, since: str, name: str = "") -> Callable[[_Part], _Part]:
    """Decorator of a public function, method or class that a later version removes.

    Args:
        successor: What users write in its place.
        since: First version that warns, such as "0.2".
        name: Public name; empty for module and qualified name.

    Returns:
        A decorator. Calls warn and work as before; the docstring and ``__deprecated__`` state it.
    """

    def marked(part: _Part) -> _Part:
        end = Deprecation(name or f"{part.__module__}.{part.__qualname__}", successor, since)
        call: Callable[..., Any] = part.__init__ if inspect.isclass(part) else part

        @functools.wraps(call)
        def warned(*args: Any, **options: Any) -> Any:
            end.warn()
            return call(*args, **options)

        result: Any = warned
        if inspect.isclass(part):
            result = part
            result.__init__ = warned
        result.__doc__ = f"{inspect.getdoc(part) or ''}\n\nDeprecated: {end.message}.".strip()
        result.__deprecated__ = end.message
        return cast(_Part, result)

    return marked


def deprecated_names(module: str, moved: Mapping[str, str], *, since: str) -> Callable[[str], Any]:
    """``__getattr__`` of a module whose names went to other modules.

    Args:
        module: Name of the module, ``__name__``.
        moved: Old name to new full dotted name.
        since: First version that warns, such as "0.2".

    Returns:
        A function that gives the object of the new name, with a warning.
    """

    def get(name: str) -> Any:
        if name not in moved:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        Deprecation(f"{module}.{name}", moved[name], since).warn()
        module_name, _, last = moved[name].rpartition(".")
        return getattr(import_module(module_name), last)

    return get

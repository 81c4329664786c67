"""File formats of points over time, and the recognition of a file's format.

Skeletons and tracks are two sets of such formats: a format is one class, and its module lies in the
package of its set.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from vlar.media.signals import FileHead

Content = TypeVar("Content")
F = TypeVar("F", bound="PointFormat[Any]")


class PointFormat(ABC, Generic[Content]):
    """A file format. It raises ``ValueError`` with a sentence for what it cannot read.

    Attributes:
        name: As registered.
        order: Formats with a lower number are asked first; general ones come last.
        endings: Endings of the content that it may have.
    """

    name: ClassVar[str]
    order: ClassVar[int] = 50
    endings: ClassVar[frozenset[str]]

    @abstractmethod
    def matches(self, head: FileHead) -> bool:
        """Return whether a file is of this format, by its first bytes."""

    @abstractmethod
    def read(self, path: Path) -> Content:
        """The recordings of a file.

        Raises:
            OSError: it cannot be opened.
            ValueError: it is malformed; the message is a sentence.
        """


class PointFormats(Generic[F]):
    """The formats of a package, which are imported when the first file is asked about."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._parts: dict[str, F] = {}
        self._ordered: tuple[F, ...] = ()

    def add(self, name: str) -> Callable[[type[F]], type[F]]:
        """Class decorator that makes a format known."""

        def register(part: type[F]) -> type[F]:
            part.name = name
            self._parts[name] = part()
            return part

        return register

    def all(self) -> tuple[F, ...]:
        """All formats, in the order in which they are asked."""
        if not self._ordered:
            for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
                importlib.import_module(f"{self._package}.{module.name}")
            self._ordered = tuple(sorted(self._parts.values(), key=lambda p: (p.order, p.name)))
        return self._ordered

    def endings(self) -> frozenset[str]:
        """All file endings."""
        return frozenset[str]().union(*(part.endings for part in self.all()))

    def recognised(self, head: FileHead) -> F | None:
        """The format of a file; None where it is none of these."""
        fitting = (part for part in self.all() if head.ending in part.endings)
        return next((part for part in fitting if part.matches(head)), None)

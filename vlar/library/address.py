"""Location of a library: a folder (``gym.vlar``), or an address in a database of a plugin.

An address begins with the name of its backend and a colon; the backend reads the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from vlar import registry


@dataclass(frozen=True)
class StoreAddress:
    """A library in a database that a plugin serves.

    Attributes:
        text: As the user wrote it.
        uri: Address of the server, or the absolute path of a folder.
        name: Name of the library there.
        embedded: Whether it is a folder that this process alone opens.
    """

    text: str
    uri: str
    name: str
    embedded: bool

    def __str__(self) -> str:
        """Address as the user wrote it."""
        return self.text

    @property
    def backend(self) -> str:
        """Name of the backend: what stands before the colon."""
        return _scheme(self.text)


LibraryPlace: TypeAlias = Path | StoreAddress


def _scheme(text: str) -> str:
    return text.partition(":")[0].partition("+")[0]


def is_address(address: str | LibraryPlace) -> bool:
    """Return whether an address names a library in a database, not a folder."""
    text = str(address)
    return ":" in text and _scheme(text) in registry.names("backend")


def place_of(address: str | LibraryPlace) -> LibraryPlace:
    """The folder or the database that an address names.

    >>> str(place_of("gym.vlar"))
    'gym.vlar'

    Raises:
        UsageError: an address of a database that is not complete.
    """
    if isinstance(address, StoreAddress):
        return address
    if not is_address(address):
        return Path(address)
    text = str(address)
    return registry.get("backend", _scheme(text)).address(text)

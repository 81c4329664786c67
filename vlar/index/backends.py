"""The place of a library by its address: a folder, or Milvus."""

from __future__ import annotations

from pathlib import Path

from vlar.index.address import LibraryPlace, place_of
from vlar.index.store.backend import Backend
from vlar.index.store.sqlite import FolderBackend


def backend_of(address: str | LibraryPlace) -> Backend:
    """The place that an address names.

    Raises:
        UsageError: it is not a usable address.
    """
    place = place_of(address)
    if isinstance(place, Path):
        return FolderBackend(place)
    from vlar.index.milvus.backend import MilvusBackend

    return MilvusBackend(place)

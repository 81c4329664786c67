"""The place of a library by its address: a folder."""

from __future__ import annotations

from pathlib import Path

from vlar.index.store.backend import Backend
from vlar.index.store.sqlite import FolderBackend


def backend_of(address: str | Path) -> Backend:
    """The place that an address names."""
    return FolderBackend(Path(address))

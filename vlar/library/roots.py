"""Folders that a person added recordings of: what a server of the library may read by default.

Recordings that a server added never widen them. They are kept without links, so that a folder that
becomes a link later is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.files.reading import parse_json
from vlar.formatting import is_url

if TYPE_CHECKING:
    from vlar.library.recording import ListedRecording
    from vlar.library.store.base import LibraryStore

KEY = "folders"
_MOST_LETTERS = 1 << 24


def extended(recordings: Iterable[ListedRecording], meta: Mapping[str, str]) -> dict[str, str]:
    """Facts of a library with the folders of some more recordings; none where nothing is new.

    Args:
        recordings: That a person adds.
        meta: Facts of the library. While no server has added anything, all recordings count.
    """
    if KEY not in meta:
        return {}
    folders = {
        os.path.dirname(recording.path)  # noqa: PTH120 - many paths
        for recording in recordings
        if recording.failure is None and not recording.is_remote
    }
    real = {os.path.realpath(folder) for folder in folders}
    real_folders = stated(meta)
    return {} if real <= real_folders else {KEY: json.dumps(sorted(real | real_folders))}


def frozen(store: LibraryStore) -> dict[str, str]:
    """Facts that keep the folders of a library as they are, before a server adds to it."""
    if KEY in store.meta():
        return {}
    paths = [path for path in store.paths().values() if not is_url(path)]
    real = {os.path.realpath(os.path.dirname(path)) for path in paths}  # noqa: PTH120
    return {KEY: json.dumps(sorted(real))}


def roots_of(store: LibraryStore | None) -> list[str]:
    """A path in each folder that a server may read by default."""
    if store is None:
        return []
    if KEY not in store.meta():
        return [path for path in store.paths().values() if not is_url(path)]
    folders = [folder for folder in stated(store.meta()) if os.path.realpath(folder) == folder]
    return sorted(str(Path(folder) / "*") for folder in folders)


def stated(meta: Mapping[str, str]) -> set[str]:
    """Folders that the facts of a library state; none where they are damaged."""
    try:
        stored = parse_json(meta.get(KEY, "[]")[:_MOST_LETTERS])
    except ValueError:
        return set()
    return (
        {folder for folder in stored if isinstance(folder, str)}
        if isinstance(stored, list)
        else set()
    )

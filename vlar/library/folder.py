"""The folder of a library: whether a path is one, and how it is created."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from vlar.errors import LibraryError, explained
from vlar.library import cache
from vlar.library.store import schema, trust

_OWN_FILES = {schema.FILE_NAME, cache.OLD_NAME, trust.FILE_NAME}


def check_place(folder: Path, create: bool) -> None:
    """Refuse a path that is not a library and cannot become one.

    Raises:
        LibraryError: a file, a folder of other things, or absent without ``create``.
    """
    with explained(LibraryError, f"library {folder} cannot be opened", "check its permissions"):
        if _usable(folder, create):
            return
        if folder.is_dir():
            raise LibraryError(
                f"{folder} is a folder but not a library (no {schema.FILE_NAME} inside); give the "
                "name of a library, such as gym.vlar"
            )
        if folder.exists():
            raise LibraryError(
                f"{folder} is a file, not a library; give the name of a folder, such as gym.vlar"
            )
    raise LibraryError(
        f"library {folder} does not exist; create it: vlar index add {folder} VIDEOS"
    )


def make_folder(folder: Path) -> None:
    """Create the folder of a library where it is absent.

    Raises:
        LibraryError: no permission, a read-only or a full disk.
    """
    with explained(
        LibraryError, f"library {folder} cannot be created", "choose a folder that you may write to"
    ):
        folder.mkdir(parents=True, exist_ok=True)


def _usable(folder: Path, create: bool) -> bool:
    if not folder.is_dir():
        return create and not folder.exists()
    # Hidden files (temporaries, .DS_Store) and the files that SQLite adds do not count.
    inside = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}
    if schema.FILE_NAME in inside:
        return True
    return create and not {name for name in inside if not name.startswith(tuple(_OWN_FILES))}


def delete_whatever(path: Path) -> None:
    """Delete a file, a link or a FIFO; of a folder, all of it."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)

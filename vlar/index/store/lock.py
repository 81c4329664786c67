"""One writer at a time, for a whole command, freed by the system when the process dies."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from vlar.errors import LibraryError, LibraryLockedError
from vlar.index.store.trust import not_plain

FILE_NAME = "writer.lock"


@contextmanager
def writer_lock(folder: Path) -> Generator[None, None, None]:
    """Hold the write lock of a library.

    The lock is SQLite's own, on an empty file next to the database. It works wherever SQLite works,
    between threads and processes alike, and ends with its process. Between two recordings no
    transaction is open, so a lock on the database itself would let a second writer in.

    Raises:
        LibraryLockedError: another process (or another part of this one) is writing.
        LibraryError: the folder cannot be written to.
    """
    require_lock_file(folder)
    try:
        connection = sqlite3.connect(
            folder / FILE_NAME, timeout=0.2, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise _refused(folder, error) from error
    try:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            raise _refused(folder, error) from error
        yield
    finally:
        connection.close()


def require_lock_file(folder: Path) -> None:
    """Refuse a lock that is not an empty file: a link, a device, the file of somebody else.

    Raises:
        LibraryError: the message names it.
    """
    for name in (FILE_NAME, f"{FILE_NAME}-journal", f"{FILE_NAME}-wal"):
        reason = not_plain(folder / name)
        if not reason and name == FILE_NAME and _size(folder / name):
            reason = "is not empty"
        if reason:
            raise LibraryError(
                f"library {folder} cannot be locked ({name} {reason}); delete {folder / name}"
            )


def _size(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_size
    return 0


def _refused(folder: Path, error: sqlite3.Error) -> LibraryError:
    if "locked" in str(error).lower():
        return LibraryLockedError(
            f"another process is writing to library {folder}; wait until it ends, then run the "
            "command again"
        )
    return LibraryError(
        f"cannot write to library {folder} ({error}); it may be on a read-only disk: check its "
        "permissions, or copy it to a writable disk"
    )

"""One writer at a time, for a whole command, freed by the system when the process dies."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from vlar.errors import LibraryError, LibraryLockedError

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

"""Checks before a database is read: a library may come from anybody.

A schema can hold views, triggers and virtual tables, which run when a table is read or written. So
a database must have the tables and the one trigger that vlar makes. Its files must be files: a link
would write somewhere else, and a FIFO would wait for ever.
"""

from __future__ import annotations

import re
import sqlite3
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vlar.errors import LibraryError, LibraryLockedError
from vlar.files.opening import open_input

PAGE_BYTES = 16384  # several fp16 vectors a page: 4096 would waste up to a quarter of each
_LONGEST_VALUE = 64 << 20  # bytes; contexts, the largest values that vlar writes, take 0.1 MB
_SPACE = re.compile(r"\s+|\s*([(),])\s*")
Objects = Mapping[tuple[str, str], str]


def secure(connection: sqlite3.Connection) -> None:
    """Let a database do nothing on its own, and find damaged pages. Call it before any read.

    ``SQLITE_DBCONFIG_DEFENSIVE`` needs Python 3.12, the limit of a value's length 3.11.
    """
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    limit: Any = getattr(connection, "setlimit", None)
    if limit is not None:
        limit(getattr(sqlite3, "SQLITE_LIMIT_LENGTH"), _LONGEST_VALUE)  # noqa: B009
    configure: Any = getattr(connection, "setconfig", None)
    if configure is not None:
        configure(getattr(sqlite3, "SQLITE_DBCONFIG_DEFENSIVE"), True)  # noqa: B009
        configure(getattr(sqlite3, "SQLITE_DBCONFIG_ENABLE_VIEW"), False)  # noqa: B009


def require_plain_files(file: Path) -> None:
    """Refuse a database whose files are not plain files.

    Raises:
        LibraryError: the message names the file.
    """
    for name in (file.name, *(f"{file.name}-{end}" for end in ("wal", "shm", "journal"))):
        if reason := not_plain(file.with_name(name)):
            raise LibraryError(
                f"library {file.parent} is refused ({name} {reason}); a library holds its own "
                "files: copy the folder with its content"
            )


def require_no_journal(file: Path) -> None:
    """Refuse a rollback journal, which vlar's databases do not have.

    SQLite would play it back before the first write, and then delete a file that it names. One
    next to a file of at most one page, without a log, is what a killed creation left: both go.

    Raises:
        LibraryError: the message names the journal.
    """
    journal, log = (file.with_name(f"{file.name}-{end}") for end in ("journal", "wal"))
    if journal.exists() and journal.stat().st_size:
        start = b""
        with suppress(FileNotFoundError), open_input(file, links=False) as stream:
            start = stream.read(PAGE_BYTES + 1)
        is_page = len(start) <= PAGE_BYTES == int.from_bytes(start[16:18], "big")
        if not log.exists() and (not start or is_page):
            file.unlink(missing_ok=True)
            journal.unlink()
            return
        raise LibraryError(
            f"library {file.parent} is refused ({journal.name} was not written by vlar); delete "
            "that file if you trust the folder"
        )


def not_plain(path: Path) -> str:
    """Reason why a path is neither absent nor a plain file; empty if it is one of them."""
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError):
        return ""
    if stat.S_ISLNK(mode):
        return "is a link"
    return "" if stat.S_ISREG(mode) else "is not a file"


def require_schema(connection: sqlite3.Connection, file: Path, expected: Objects) -> None:
    """Refuse a database with views, triggers, virtual tables, or tables other than vlar's own.

    Tables that vlar does not use, and indexes, are left to SQLite.

    Raises:
        LibraryError: the message names what is not as it must be.
    """
    declared = objects(connection)
    for key, text in expected.items():
        if key[0] in ("table", "trigger") and declared.get(key) != text:
            what = "is changed" if key in declared else "is missing"
            raise _refused(file, f"its {key[0]} {key[1]} {what}")
    for (kind, name), text in declared.items():
        if kind in ("view", "trigger") and (kind, name) not in expected:
            raise _refused(file, f"it has a {kind}, {name!r:.60}")
        if text.upper().startswith("CREATE VIRTUAL"):
            raise _refused(file, f"it has a virtual table, {name!r:.60}")


def objects(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """The SQL of all tables, triggers, views and indexes by kind and name, in one spelling."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master")
    return {(str(kind), str(name)): _spelled(str(text or "")) for kind, name, text in rows}


def _spelled(text: str) -> str:
    return _SPACE.sub(lambda match: match[1] or " ", text).strip()


def _refused(file: Path, reason: str) -> LibraryError:
    return LibraryError(
        f"library {file.parent} is damaged or not made by vlar ({file.name}: {reason}); restore a "
        "copy of the folder, or move it away and index the videos again"
    )


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
        raise _lock_refused(folder, error) from error
    try:
        try:
            connection.execute("PRAGMA journal_mode = MEMORY")  # no file that could stay
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            raise _lock_refused(folder, error) from error
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
        with suppress(OSError):
            if not reason and name == FILE_NAME and (folder / name).stat().st_size:
                reason = "is not empty"
        if reason:
            raise LibraryError(
                f"library {folder} cannot be locked ({name} {reason}); delete {folder / name}"
            )


def _lock_refused(folder: Path, error: sqlite3.Error) -> LibraryError:
    if "locked" in str(error).lower():
        return LibraryLockedError(
            f"another process is writing to library {folder}; wait until it ends, then run the "
            "command again"
        )
    return LibraryError(
        f"cannot write to library {folder} ({error}); it may be on a read-only disk: check its "
        "permissions, or copy it to a writable disk"
    )

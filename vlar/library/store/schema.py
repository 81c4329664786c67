"""The tables of ``library.sqlite``, how they are opened, migrated and refused.

The file is SQLite in WAL mode with ``synchronous=FULL``: a commit is on the disk before the next
video begins, so neither ``kill -9`` nor a power cut loses a committed video (as far as the disk
honours fsync). One commit is made per video, whose decoding costs far more than the fsync.
"""

from __future__ import annotations

import itertools
import sqlite3
import struct
import zlib
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path

from vlar.errors import LibraryError, LibraryLockedError
from vlar.library.store.trust import (
    PAGE_BYTES,
    Objects,
    objects,
    require_no_journal,
    require_plain_files,
    require_schema,
    secure,
)
from vlar.toml import read_toml

APPLICATION_ID = 0x766C6172  # "vlar", in the header of the file
FILE_NAME = "library.sqlite"
READ_AGAIN = "read again"  # in place of a content hash: the next ``add`` encodes the file
_BUSY_TIMEOUT_S = 5.0
_DAMAGE = (
    "not a database",
    "malformed",
    "no such table",
    "no such column",
    "utf-8",
    "too big",
    "datatype mismatch",
    "not authorized",
    "unsafe use",
)

# Step n takes a file from version n to n + 1.
_STEPS = read_toml(Path(__file__).with_name("migrations.toml").read_text(encoding="utf-8"))
MIGRATIONS = tuple(tuple(map(str, step["statements"])) for step in _STEPS["step"])
SCHEMA_VERSION = len(MIGRATIONS)


def row_checksum(start_s: float, end_s: float, values: bytes, person: bytes = b"") -> int:
    """Right ``checksum`` of a row: CRC-32 of its times and its vector (or its context).

    The checksum of a person's row covers ``person_bytes`` too.

    >>> row_checksum(0.0, 4.0, b"") == zlib.crc32(struct.pack("<dd", 0.0, 4.0))
    True
    """
    return zlib.crc32(person, zlib.crc32(values, zlib.crc32(struct.pack("<dd", start_s, end_s))))


def person_bytes(track: int, box: bytes) -> bytes:
    """Bytes that the checksum of a person's row covers besides its times and vector."""
    return struct.pack("<q", track) + box


def open_reader(file: Path) -> sqlite3.Connection | None:
    """A read-only connection that works next to a writer and on a read-only disk.

    Returns:
        The connection, or None where the file has no tables yet (its creation was interrupted).

    Raises:
        LibraryError: not a vlar library, damaged, made by a newer vlar, or not readable.
    """
    require_plain_files(file)
    with guard(file, "open"):
        connection = _connect_read_only(file)
        try:
            version = _version(connection, file)
            if version == 0:
                connection.close()
                return None
            if version < SCHEMA_VERSION:
                connection.close()
                open_writer(file).close()
                connection = _connect_read_only(file)
        except BaseException:
            connection.close()
            raise
    return connection


def open_writer(file: Path) -> sqlite3.Connection:
    """A connection for the one writer; creates the tables and brings older files up to date.

    Raises:
        LibraryError: not a vlar library, damaged, made by a newer vlar, or not writable.
    """
    require_plain_files(file)
    require_no_journal(file)
    with guard(file, "write to"):
        connection = sqlite3.connect(
            file, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            secure(connection)
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            version = _version(connection, file)
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.create_function("row_checksum", 3, row_checksum, deterministic=True)
            for step in range(version, SCHEMA_VERSION):
                _migrate(connection, step)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def transaction(
    connection: sqlite3.Connection, mode: str = "IMMEDIATE"
) -> Generator[None, None, None]:
    """All or nothing: commits at the end, rolls back on any exception."""
    connection.execute(f"BEGIN {mode}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # After some errors (disk full) SQLite has rolled back by itself: then there is nothing
        # left to roll back, and the first error is the one to raise.
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


@contextmanager
def guard(file: Path, doing: str) -> Generator[None, None, None]:
    """Turn SQLite's errors into one line with advice."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise explain(error, file, doing) from error


def explain(error: sqlite3.Error | UnicodeDecodeError, file: Path, doing: str) -> LibraryError:
    """The error of the library that an error of SQLite means, or one whose text is not UTF-8."""
    text = str(error).lower()
    folder = file.parent
    if "locked" in text or "busy" in text:
        return LibraryLockedError(
            f"another process is writing to library {folder}; wait until it ends, then run the "
            "command again"
        )
    if any(sign in text for sign in _DAMAGE):
        return LibraryError(
            f"library {folder} is damaged ({file.name}: {error}); restore a copy of the folder, "
            "or move it away and index the videos again"
        )
    if "readonly" in text:
        return LibraryError(
            f"cannot {doing} library {folder}: it is read-only; check its permissions or copy it "
            "to a writable disk"
        )
    if "full" in text:
        return LibraryError(
            f"cannot {doing} library {folder}: the disk is full; everything committed before is "
            "kept; free some space and run the command again"
        )
    return LibraryError(
        f"cannot {doing} library {folder} ({file.name}: {error}); it may be gone, on a read-only "
        "disk or on a failing one: check the folder and its permissions"
    )


def _migrate(connection: sqlite3.Connection, step: int) -> None:
    with transaction(connection):
        for statement in MIGRATIONS[step]:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {step + 1}")


def _version(connection: sqlite3.Connection, file: Path) -> int:
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if application == 0 and version == 0 and tables == 0:
        return 0
    if application != APPLICATION_ID:
        raise LibraryError(
            f"{file} is a database of another program, not a vlar library; give another folder"
        )
    if version > SCHEMA_VERSION:
        raise LibraryError(
            f"library {file.parent} has format {version}, made by a newer vlar; this one reads up "
            f"to format {SCHEMA_VERSION}: upgrade with 'pip install --upgrade vlar'"
        )
    if version < 1:
        raise LibraryError(
            f"library {file.parent} is damaged (it has tables, but format {version}); restore a "
            "copy of the folder, or move it away and index the videos again"
        )
    require_schema(connection, file, _made_by_vlar(MIGRATIONS[:version]))
    return version


@cache
def _made_by_vlar(steps: tuple[tuple[str, ...], ...]) -> Objects:
    """Objects of a database after some migrations."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.create_function("row_checksum", 3, row_checksum, deterministic=True)
        for statement in itertools.chain.from_iterable(steps):
            connection.execute(statement)
        return objects(connection)


def _connect_read_only(file: Path) -> sqlite3.Connection:
    uri = file.absolute().as_uri()
    try:
        return _try_read(f"{uri}?mode=ro")
    except sqlite3.OperationalError as error:
        text = str(error).lower()
        if "unable to open" not in text and "readonly" not in text:
            raise
        # WAL needs a shared-memory file next to the database; on a read-only disk it cannot be
        # made. Without a log every commit is in the main file, which nobody can change there.
        log = file.with_name(file.name + "-wal")
        if not log.exists() or log.stat().st_size == 0:
            return _try_read(f"{uri}?mode=ro&immutable=1")
        raise LibraryError(
            f"library {file.parent} is read-only and was not closed properly ({log.name} still "
            "holds commits); copy the folder to a writable disk and open it there once"
        ) from error


def _try_read(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        secure(connection)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection

"""The audit of a library: read-only, with a schema that is not trusted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from vlar.audit.contents import files_in, look
from vlar.audit.finding import DAMAGE, DANGER, REMARK, Finding
from vlar.audit.models import names_a_path
from vlar.errors import LibraryError
from vlar.index.maintenance.verify import verify
from vlar.index.store import schema
from vlar.index.store.sqlite import SqliteStore

_OWN_TRIGGERS = ("rows_leave_a_tombstone",)
_OBJECTS = "SELECT type, name, coalesce(sql, '') FROM sqlite_master"


def audit_library(folder: Path) -> Iterator[Finding]:
    """A library: what lies in its folder, what its schema would run, and what ``verify`` finds.

    Nothing is written, and the video files that it names are not opened.
    """
    for file in files_in(folder):
        yield from look(file)
    database = folder / schema.FILE_NAME
    if database.is_symlink() or not database.is_file():
        return
    version = yield from _schema(database)
    if version is None:
        return
    if version != schema.SCHEMA_VERSION:
        problem = f"it has format {version}; this vlar audits {schema.SCHEMA_VERSION}"
        advice = f"open a copy of it first: vlar index info {folder}"
        yield Finding(REMARK, str(database), problem, advice)
        return
    try:
        store = SqliteStore.open_to_read(folder)
        if store is None:
            return
        try:
            yield from _rows(store, folder)
        finally:
            store.close()
    except LibraryError as error:
        yield Finding.of(error, database)


def _schema(database: Path) -> Iterator[Finding]:
    """Triggers, views and virtual tables that vlar does not make; returns the version."""
    address = f"file:{quote(str(database.absolute()))}?mode=ro"
    try:
        connection = sqlite3.connect(address, uri=True, timeout=5)
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA query_only = ON")
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            objects = connection.execute(_OBJECTS).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        advice = "ask its sender for a copy"
        yield Finding(DAMAGE, str(database), f"it is not a readable database ({error})", advice)
        return None
    for kind, name, sql in objects:
        virtual = kind == "table" and "VIRTUAL" in str(sql).upper()
        foreign = kind == "trigger" and name not in _OWN_TRIGGERS
        if kind == "view" or virtual or foreign:
            what = "virtual table" if virtual else kind
            problem = f"its schema has the {what} {str(name)[:80]!r}, which vlar does not make"
            yield Finding(DANGER, str(database), problem, "do not open it with other programs")
    return version


def _rows(store: SqliteStore, folder: Path) -> Iterator[Finding]:
    with store.snapshot():
        spec = store.meta().get("model")
        if spec:
            yield from names_a_path(str(spec), folder / schema.FILE_NAME)
        for fault in verify(store, files=False):
            advice = f"vlar index verify {folder} --repair"
            yield Finding(DAMAGE, fault.path, f"{fault.kind}: {fault.message}", advice)

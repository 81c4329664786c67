"""The folder of one server: jobs, adapted models, uploads. No two servers share one."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path

from vlar.errors import UsageError
from vlar.index.address import is_milvus

_LOCK = "server.lock"
_MOST_SERVERS = 64  # of one library on one machine


def default_folder(library: str | Path) -> Path:
    """The default folder of a library's first server, in the user's own data folder."""
    from platformdirs import user_data_path

    real = str(library) if is_milvus(str(library)) else os.path.realpath(library)
    name = hashlib.sha256(real.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return user_data_path("vlar") / "serve" / f"{Path(real).stem[:40]}-{name}"


class ServerFolder:
    """A folder that this server alone uses, until it is closed or its process ends.

    Attributes:
        path: The folder; it is made.
    """

    def __init__(self, path: Path, lock: sqlite3.Connection) -> None:
        self.path, self._lock = path, lock

    @classmethod
    def named(cls, path: Path) -> ServerFolder:
        """A folder that the user names.

        Raises:
            UsageError: another server uses it, or it cannot be made.
        """
        taken = cls._take(path)
        if taken is None:
            raise UsageError(
                f"--state {str(path)!r} is in use by another server; give each server a folder of "
                "its own"
            )
        return taken

    @classmethod
    def for_library(cls, library: str | Path) -> ServerFolder:
        """The first default folder of a library that no other server uses.

        A server that starts again finds the jobs of the one that it replaces.

        Raises:
            UsageError: all are in use, or none can be made.
        """
        first = default_folder(library)
        for number in range(1, _MOST_SERVERS + 1):
            path = first if number == 1 else first.with_name(f"{first.name}-{number}")
            taken = cls._take(path)
            if taken is not None:
                return taken
        raise UsageError(
            f"{_MOST_SERVERS} servers of this library run here already; stop some, or give --state"
        )

    def close(self) -> None:
        """Let another server have it."""
        self._lock.close()

    @classmethod
    def _take(cls, path: Path) -> ServerFolder | None:
        """The folder; None where another server has it."""
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            # SQLite's lock ends with its process, on every system.
            lock = sqlite3.connect(
                path / _LOCK, timeout=0.0, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise UsageError(
                f"the folder {str(path)!r} for jobs and uploads cannot be made ({error}); give "
                "another one with --state"
            ) from error
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            lock.close()
            return None
        return cls(path, lock)

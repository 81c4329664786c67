"""Running the HTTP interface: the socket first, so that the address is known at once."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from vlar.apps.serve.access import Access
from vlar.apps.serve.application import Application
from vlar.errors import UsageError
from vlar.library.address import is_address

_BACKLOG = 128
_KEEP_ALIVE_S = 15
_SHUTDOWN_S = 5
_HEADER_S = 10.0
_MOST_IDLE = 64  # connections beyond those that are answered


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens, with a port of the system's choice for 0.

    Raises:
        UsageError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
        server.listen(_BACKLOG)
    except OSError as error:
        server.close()
        raise UsageError(
            f"cannot listen on {host}, port {port} ({error.strerror or error}); choose another "
            "with --port, or --port 0 for a free one"
        ) from error
    return server


def address(server: socket.socket) -> str:
    """The address of the page."""
    host, port = server.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def patient_protocol(connections: int, header_s: float = _HEADER_S) -> type[asyncio.Protocol]:
    """HTTP connections that end where no whole request arrives in time.

    Args:
        connections: That are answered; some more may be open and idle.
        header_s: Seconds in which the head of a request has to arrive.
    """

    class PatientProtocol(AutoHTTPProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            state: Any = self
            if len(state.connections) > connections + _MOST_IDLE:
                transport.close()
                return
            self._look_later(transport, None)

        def _look_later(self, transport: Any, seen: object) -> None:
            def look() -> None:
                # The request that is answered, or was last; None before the first.
                cycle: Any = getattr(self, "cycle", None)
                waits = cycle is None or cycle.response_complete
                if transport.is_closing():
                    return
                if waits and cycle is seen:
                    transport.close()
                else:
                    self._look_later(transport, cycle if waits else transport)

            asyncio.get_running_loop().call_later(header_s, look)

    return PatientProtocol


def run(application: Application, access: Access, server: socket.socket) -> None:
    """Serve until the process is asked to end (SIGINT or SIGTERM), then end jobs and processes."""
    from vlar.apps.serve.http import HttpInterface

    config = uvicorn.Config(
        HttpInterface(application, access).app(),
        http=patient_protocol(application.limits.connections),
        access_log=False,
        log_config=None,
        ws="none",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=application.limits.connections,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    # uvicorn ends its own work and then sends itself the signal that it was sent.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[server])
    finally:
        application.close()


_LOCK = "server.lock"
_MOST_SERVERS = 64  # of one library on one machine


def default_folder(library: str | Path) -> Path:
    """The default folder of a library's first server, in the user's own data folder."""
    from platformdirs import user_data_path

    real = str(library) if is_address(str(library)) else os.path.realpath(library)
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
        folder = cls._take(path)
        if folder is None:
            raise UsageError(
                f"--state {str(path)!r} is in use by another server; give each server a folder of "
                "its own"
            )
        return folder

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
            if (folder := cls._take(path)) is not None:
                return folder
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

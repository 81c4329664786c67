"""Running the HTTP interface: the socket first, so that the address is known at once."""

from __future__ import annotations

import signal
import socket
from contextlib import suppress

import uvicorn

from vlar.errors import UsageError
from vlar.serve.access import Access
from vlar.serve.application import Application

_BACKLOG = 128
_KEEP_ALIVE_S = 15
_SHUTDOWN_S = 5


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


def run(application: Application, access: Access, server: socket.socket) -> None:
    """Serve until the process is asked to end (SIGINT or SIGTERM), then end jobs and processes."""
    from vlar.serve.http import HttpInterface

    config = uvicorn.Config(
        HttpInterface(application, access).app(),
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

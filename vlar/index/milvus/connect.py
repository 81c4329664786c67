"""Connecting to Milvus: pymilvus where it is installed, a server, or a folder of Milvus Lite.

A folder is opened once a process, however many libraries are in it, and given back with the last
connection. Milvus Lite allows one process a folder.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

from vlar.errors import LibraryError, LibraryLockedError, UsageError
from vlar.index.address import MilvusAddress
from vlar.index.milvus.errors import reason_of

TOKEN = "VLAR_MILVUS_TOKEN"
CONNECT_S = 10.0
_LEAST_CLIENT = (3, 0)
_open_folders: dict[str, int] = {}
_mutex = threading.Lock()


def connected(address: MilvusAddress) -> Any:
    """A client of the Milvus of an address.

    Raises:
        UsageError: pymilvus or Milvus Lite is not installed, or too old.
        LibraryLockedError: another process has the folder open.
        LibraryError: no server answers, or the folder cannot be opened.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # else it warns of forks on stderr
    try:
        import pymilvus
    except ImportError as error:
        raise UsageError(
            f"{address} is a library in Milvus, which needs the extra milvus: pip install "
            "'vlar[milvus]'"
        ) from error
    if not is_at_least(pymilvus.__version__, _LEAST_CLIENT):
        raise UsageError(
            f"{address} needs pymilvus 3 or newer, {pymilvus.__version__} is installed: pip "
            "install --upgrade 'vlar[milvus]'"
        )
    for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite", "grpc._server"):
        # It logs every error with a traceback; vlar raises each again with what to do.
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    if address.embedded:
        return _opened_folder(address)
    return _client(address)


def _client(address: MilvusAddress) -> Any:
    import grpc
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    token = os.environ.get(TOKEN, "")
    try:
        return MilvusClient(address.uri, token=token, timeout=CONNECT_S, dedicated=True)
    except (MilvusException, grpc.RpcError) as error:
        reason = reason_of(error)
        if "auth" in reason.lower():
            how = f"set {TOKEN} to user:password or to an API key"
        else:
            how = "start it, or check host, port and network"
        raise LibraryError(f"no Milvus answers at {address} ({reason}); {how}") from error


def _opened_folder(address: MilvusAddress) -> Any:
    """A client of a folder, which this process opens once."""
    folder = Path(address.uri)
    with _mutex:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LibraryError(
                f"library {address} cannot be created ({error.strerror}); choose a folder that you "
                "may write to"
            ) from error
        if folder.is_file():
            raise LibraryError(
                f"{address}: {folder.name} is a file, but Milvus Lite 3 keeps a folder; a file of "
                "Milvus Lite 2 cannot be read: choose another name and index the videos again"
            )
        with _Overheard("milvus_lite.server_manager") as heard:
            client = _lite_client(address, heard)
        _open_folders[address.uri] = _open_folders.get(address.uri, 0) + 1
    return client


def _lite_client(address: MilvusAddress, heard: _Overheard) -> Any:
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    try:
        return MilvusClient(address.uri, timeout=CONNECT_S, dedicated=True)
    except MilvusException as error:
        if "milvus-lite is required" in str(error):
            raise UsageError(
                f"{address} is a folder of Milvus Lite, which is not installed: pip install "
                "'vlar[milvus]'"
            ) from error
        cause = heard.cause or error
        if "lock" in f"{type(cause).__name__} {cause}".lower():
            raise LibraryLockedError(
                f"another process has {address} open, and Milvus Lite allows one at a time; wait "
                "until it ends, or let 'milvus-lite server' share the folder (docs/milvus.md)"
            ) from error
        raise LibraryError(
            f"library {address} cannot be opened ({reason_of(cause)}); restore a copy of the "
            "folder, or index the videos again under another name"
        ) from error


class _Overheard(logging.Handler):
    """The error that a library logs instead of raising it; it is not printed."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.cause: Exception | None = None
        self._logger = logging.getLogger(name)

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and isinstance(record.exc_info[1], Exception):
            self.cause = record.exc_info[1]

    def __enter__(self) -> _Overheard:
        self._logger.addHandler(self)
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)
        self._propagate, self._logger.propagate = self._logger.propagate, False
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)
        self._logger.propagate = self._propagate


def give_back(folder: str) -> None:
    """Close a folder where nothing of this process uses it any more."""
    with _mutex:
        left = _open_folders.get(folder, 1) - 1
        _open_folders[folder] = left
        if left <= 0:
            del _open_folders[folder]
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(folder)


def is_at_least(version: str, least: tuple[int, int]) -> bool:
    """Return whether a version such as ``v2.5.4`` is a given one or newer."""
    numbers = version.lstrip("v").split(".")[:2]
    if not all(number.isdigit() for number in numbers):
        return True  # a build of the server's own makers; it is for them to know
    return tuple(map(int, numbers)) >= least

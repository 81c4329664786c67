"""A Milvus Lite that answers on a port, as a server does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class LiteServer:
    """A server of Milvus Lite in a thread, which can be stopped and started again.

    Args:
        folder: Where it keeps its data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: tuple[Any, Any] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        from milvus_lite.adapter.grpc.server import start_server_in_thread

        server, db, _ = start_server_in_thread(str(self._folder), port=self.port)
        self._running = server, db

    def stop(self) -> None:
        if self._running is not None:
            server, db = self._running
            server.stop(grace=0).wait()
            db.close()
            self._running = None

    def address(self, name: str = "l") -> str:
        return f"milvus://127.0.0.1:{self.port}/{name}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiteServer]:
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    running = LiteServer(tmp_path / "server.db")
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is gone is noticed soon, and a lease is watched for a moment only."""
    monkeypatch.setattr("vlar.plugins.milvus.client.CONNECT_S", 1.0)
    monkeypatch.setattr("vlar.plugins.milvus.client.CALL_S", 10.0)
    monkeypatch.setattr("vlar.plugins.milvus.client.BULK_S", 10.0)
    monkeypatch.setattr("vlar.plugins.milvus.lease.SETTLE_S", 0.02)
    monkeypatch.setattr("vlar.plugins.milvus.lease._LOOK_S", 0.02)

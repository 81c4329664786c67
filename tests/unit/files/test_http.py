"""Requests that follow no redirect, since that would take a key to another host."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vlar.files.http import ask

ASKED: list[str] = []


class Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *_: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        ASKED.append(self.path)
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("Location", "/other")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_POST = do_GET


@pytest.fixture
def address() -> Generator[str]:
    ASKED.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_answer_is_read(address: str):
    with ask(f"{address}/there", 5) as answer:
        assert answer.read() == b"ok"


@pytest.mark.parametrize("data", [None, b"{}"])
def test_a_redirect_is_an_error_and_is_not_followed(address: str, data: bytes | None):
    request = urllib.request.Request(f"{address}/moved", data, {"Authorization": "key"})
    with pytest.raises(urllib.error.HTTPError, match="302"):
        ask(request, 5)
    assert ASKED == ["/moved"]


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 2x0 a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000])  # fmt: skip  # noqa: E501
def test_an_answer_that_is_not_whole_http_is_an_error_of_the_system(answer: bytes):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def stumble() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(answer)

        thread = threading.Thread(target=stumble)
        thread.start()

        def read() -> None:
            with ask(f"http://127.0.0.1:{server.getsockname()[1]}/", 5) as reply:
                reply.read()

        with pytest.raises(OSError):
            read()
        thread.join()

"""A connection that sends no request, or half of one, ends; those that ask are answered."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from tests.refusals import refused
from vlar.apps.serve.server import bound_socket, patient_protocol

HEADER_S = 0.5


async def slow_app(scope, receive, send) -> None:
    import asyncio

    if scope["type"] != "http":
        return
    await asyncio.sleep(2 * HEADER_S)  # an answer may take longer than a head
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}
    )
    await send({"type": "http.response.body", "body": b"done"})


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[str, int]]:
    listening = bound_socket("127.0.0.1", 0)
    protocol = patient_protocol(2, HEADER_S)
    config = uvicorn.Config(slow_app, http=protocol, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    yield listening.getsockname()[:2]
    server.should_exit = True
    thread.join(10)


def ended_after(client: socket.socket) -> float:
    begin = time.monotonic()
    client.settimeout(30)
    assert client.recv(100) == b""
    return time.monotonic() - begin


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nhost: a\r\nx: "])
def test_half_a_head_ends_the_connection(place: tuple[str, int], sent: bytes):
    with socket.create_connection(place) as client:
        client.sendall(sent)
        assert ended_after(client) < 20


def trickle(client: socket.socket) -> None:
    while True:
        client.sendall(b"G")
        time.sleep(HEADER_S / 5)


def test_one_that_sends_a_byte_now_and_then_ends_too(place: tuple[str, int]):
    with socket.create_connection(place) as client:
        begin = time.monotonic()
        refused(OSError, r"reset|pipe", trickle, client)
        assert time.monotonic() - begin < 20


def test_a_request_is_answered_however_long_its_answer_takes(place: tuple[str, int]):
    with socket.create_connection(place) as client:
        for _ in range(2):
            client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            answer = b""
            while b"done" not in answer:
                piece = client.recv(1000)
                assert piece, answer
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200")


def test_idle_connections_are_counted(place: tuple[str, int]):
    idle = [socket.create_connection(place) for _ in range(2 + 64 + 20)]
    try:
        assert ended_after(idle[-1]) < HEADER_S
    finally:
        for client in idle:
            client.close()

"""A small chat server on this machine that answers as a test tells it."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KINDS = ("scene", "motion", "phases", "contrast", "sentence")


@dataclass
class Reply:
    body: Any = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    slow_s: float = 0.0  # between two bytes

    @property
    def data(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Plan = Callable[[int, dict[str, Any]], Reply]


@dataclass
class ChatStub:
    """``plan`` gets the number of the question (from 0) and its body."""

    plan: Plan
    questions: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    url: str = ""
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)


def message(content: str | None) -> Reply:
    return Reply({"choices": [{"message": {"role": "assistant", "content": content}}]})


def asked_labels(body: dict[str, Any]) -> list[str]:
    return re.findall(r'\{"label": "(.*?)"\}', body["messages"][1]["content"])


def text_for(label: str, kind: str) -> str:
    return f"The {kind} of {label} with arms and tools."


def rows_for(labels: list[str], kinds: tuple[str, ...] = KINDS) -> str:
    rows = [{"label": x, "descriptions": {k: text_for(x, k) for k in kinds}} for x in labels]
    return "\n".join(map(json.dumps, rows))


def obedient(number: int, body: dict[str, Any]) -> Reply:
    del number
    return message(rows_for(asked_labels(body)))


@contextlib.contextmanager
def chat_server(plan: Plan = obedient) -> Iterator[ChatStub]:
    stub = ChatStub(plan)
    active = 0

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal active
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with stub.lock:
                number = len(stub.questions)
                stub.questions.append(body)
                stub.keys.append(self.headers.get("Authorization"))
                active += 1
                stub.most_at_once = max(stub.most_at_once, active)
            reply = stub.plan(number, body)
            if reply.hang:
                stub.released.wait(120)
            with stub.lock:
                active -= 1
            with contextlib.suppress(OSError):
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.data)))
                self.end_headers()
                if not reply.slow_s:
                    self.wfile.write(reply.data)
                    return
                for place in range(len(reply.data)):
                    self.wfile.write(reply.data[place : place + 1])
                    time.sleep(reply.slow_s)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield stub
    finally:
        stub.released.set()
        server.shutdown()
        server.server_close()

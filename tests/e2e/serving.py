"""Starts the real ``vlar serve`` on a free port, for tests that ask it or open its page."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .conftest import COMMAND

START_S = 60.0  # on a busy machine; it is measured in the browser tests


@dataclass
class Server:
    """A running server.

    Attributes:
        process: The command.
        address: Of its page, with a slash at the end.
        started_s: Seconds until the address was printed.
        errors: Lines of stderr so far.
    """

    process: subprocess.Popen[str]
    address: str
    started_s: float
    errors: list[str] = field(default_factory=list)

    def ask(
        self,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        limit_s: float = 60,
    ) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        data = None if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"content-type": "application/json"}
        request = urllib.request.Request(
            self.address + path, data=data, headers={**kind, **(headers or {})}
        )
        try:
            with urllib.request.urlopen(request, timeout=limit_s) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def wait_until_ready(self) -> None:
        """Until the model is loaded."""
        end_s = time.monotonic() + START_S
        while not self.ask("api/health")[1]["ready"]:
            assert time.monotonic() < end_s
            time.sleep(0.05)

    def stop(self) -> int:
        """Ctrl-C, and the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@contextmanager
def serving(
    library: Path, state: Path, *options: object, **variables: str
) -> Generator[Server, None, None]:
    begin_s = time.monotonic()
    command = [str(COMMAND), "serve", str(library), "--port", "0", "--state", str(state)]
    process = subprocess.Popen(
        [*command, *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )
    errors: list[str] = []
    lines: queue.Queue[str] = queue.Queue()

    def put_lines() -> None:
        for line in process.stdout or ():
            lines.put(line)
        lines.put("")  # it has ended

    readers = [
        threading.Thread(target=lambda: [errors.append(line) for line in process.stderr or ()]),
        threading.Thread(target=put_lines),
    ]
    for reader in readers:
        reader.daemon = True
        reader.start()
    try:
        address = lines.get(timeout=START_S).strip()
        assert address, "".join(errors)
        yield Server(process, address, time.monotonic() - begin_s, errors)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)
        for reader in readers:
            reader.join(5)

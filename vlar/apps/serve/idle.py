"""Encoding of mapped rows while nobody asks: a process that stops as soon as somebody does.

A library that changed its model lazily (``vlar.library.maintain.lazy_upgrade``) encodes its rows
when they are needed. A server has time between requests. Every recording is a commit, so nothing is
lost.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

from vlar.apps.serve.jobs import job_process, tell
from vlar.errors import LibraryLockedError
from vlar.types import JsonDict

_IDLE_S = 10.0  # without a request, before it starts
_LOOK_S = 0.5
_STOP_S = 6.0  # for the process to end by itself


class IdleEncoder:
    """Encodes mapped rows for some minutes in all, while nobody asks.

    Args:
        spec: Library, model and roots, as for a job.
        minutes: Time that its processes may take; 0 starts none.
        is_busy: Whether jobs wait or run.
        idle_s: Seconds without a request before a process starts.
        start: Starts the process of a job.
    """

    def __init__(
        self,
        spec: JsonDict,
        minutes: float,
        is_busy: Callable[[], bool],
        idle_s: float = _IDLE_S,
        start: Callable[[], subprocess.Popen[str]] = job_process,
    ) -> None:
        self._spec, self._left_s, self._is_busy = spec, 60 * minutes, is_busy
        self._idle_s, self._start = idle_s, start
        self._asked_s, self._asking = time.monotonic(), 0
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="vlar-idle", daemon=True)
        if minutes > 0:
            self._thread.start()

    @property
    def is_running(self) -> bool:
        """Return whether a process encodes now."""
        return self._process is not None

    @asynccontextmanager
    async def paused(self) -> AsyncGenerator[None]:
        """Let nothing run while a request is answered; what runs is ended before it."""
        with self._lock:
            self._asking += 1
        try:
            if self._process is not None:
                await asyncio.to_thread(self.stop)
            yield
        finally:
            with self._lock:
                self._asking -= 1
                self._asked_s = time.monotonic()

    def stop(self) -> None:
        """End the process that runs; it holds the library's lock no longer."""
        with self._lock:
            process = self._process
        if process is None:
            return
        with suppress(OSError, ValueError):
            assert process.stdin is not None
            process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """Start nothing more, and end what runs."""
        self._closed.set()
        self.stop()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def _work(self) -> None:
        while self._left_s > 0 and not self._closed.wait(min(_LOOK_S, self._idle_s)):
            begin_s = time.monotonic()
            report = self._run()
            self._left_s -= time.monotonic() - begin_s
            if report is not None and not (report["rows"] and report["mapped"]):
                return  # all are encoded, or the others cannot be

    def _run(self) -> JsonDict | None:
        """The report of one process; None where it was ended."""
        with self._lock:
            is_idle = not self._asking and time.monotonic() - self._asked_s >= self._idle_s
            if self._closed.is_set() or not is_idle or self._is_busy():
                return None
            process = self._process = self._start()
        tell(process, {**self._spec, "kind": "encode", "minutes": self._left_s / 60})
        report: JsonDict | None = None
        try:
            with suppress(OSError, ValueError):
                for line in process.stdout or ():
                    event = json.loads(line)
                    if event["event"] == "error" and event["kind"] == LibraryLockedError.kind:
                        self._asked_s = time.monotonic()  # another program writes: later
                    elif event["event"] == "error":
                        report = {"rows": 0, "mapped": 0}
                    elif event["event"] == "done":
                        report = event["report"]
            process.wait()
        finally:
            with self._lock:
                self._process = None
            for stream in (process.stdin, process.stdout):
                with suppress(OSError, AttributeError):
                    stream.close()  # pyright: ignore[reportOptionalMemberAccess]
        return report

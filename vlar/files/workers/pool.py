"""Worker processes that stay warm from file to file."""

from __future__ import annotations

import logging
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from vlar.files.workers.process import FileLimits, WorkerProcess, WorkerStartError
from vlar.version import is_installed

_log = logging.getLogger("vlar")
_SMALL_BYTES = 64 << 20


def can_isolate(function: Callable[..., Any] | type) -> bool:
    """Return whether a worker process can be started here and can import a function or class.

    It cannot on Windows, nor for definitions of the user's own script.
    """
    return function.__module__ != "__main__" and bool(sys.executable) and _has_workers()


@cache
def _has_workers() -> bool:
    """True where the system has what worker processes need; one line states where it lacks it."""
    if os.name == "posix" and is_installed("resource"):
        return True
    _log.warning(
        "files are read in this process: %s cannot isolate them, so a file that crashes a decoder "
        "ends the program",
        platform.system() or "this system",
    )
    return False


def is_batch(first: Sequence[Path]) -> bool:
    """Return whether the first (at most two) of some files are worth a worker process.

    A single file of at most 64 MB is not: nothing else can be lost with it, and starting a worker
    takes longer than reading it.
    """
    return len(first) > 1 or any(_size(path) > _SMALL_BYTES for path in first)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0  # reading it names the fault


class WorkerPool:
    """Runs jobs in worker processes; each is started when it is first needed, and stays.

    Any thread may run jobs. A job that finds no free worker starts one, so as many run as threads
    ask at once. Use it as a context: at its end all workers are ended, also those still at work.

    Args:
        limits: Limits of each file; None is ``FileLimits.from_environment``.
        module: A module that workers import before their first job.

    Attributes:
        is_closed: No job can be run any more.
    """

    def __init__(self, limits: FileLimits | None = None, *, module: str = __name__) -> None:
        self.limits = limits or FileLimits.from_environment()
        self._module = module
        self._lock = threading.Lock()
        self._free: list[WorkerProcess] = []
        self._all: list[WorkerProcess] = []
        self.is_closed = False

    def __enter__(self) -> WorkerPool:
        """The pool itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers."""
        self.close()

    def close(self) -> None:
        """End all workers at once. What a thread still waits for ends with an error."""
        with self._lock:
            self.is_closed = True
            free, busy = self._free, [worker for worker in self._all if worker not in self._free]
            self._all, self._free = [], []
        for worker in free:
            worker.close()
        for worker in busy:
            worker.kill()  # the thread that waits for it releases the rest

    def end_jobs(self) -> None:
        """End the workers that are at work. What a thread waits for ends with an error."""
        with self._lock:
            busy = [worker for worker in self._all if worker not in self._free]
        for worker in busy:
            worker.kill()

    def stream(
        self, path: Path, duration_s: float, function: Callable[..., Any], *arguments: Any
    ) -> Iterator[Any]:
        """The items that ``function(*arguments)`` gives, from a worker.

        Each item may take ``FileLimits.timeout_s``, all together ``FileLimits.whole_s``.

        Args:
            path: The file that is read, for error messages.
            duration_s: Its length in seconds, which scales its time limit; 0 where unknown.
            function: Function of a module that can be imported.
            arguments: What pickle can carry.

        Raises:
            DecodeCrash, DecodeTimeout, DecodeOutOfMemory: the worker was lost with the file.
            WorkerStartError: none can be started.
            VlarError: what the function raises.
        """
        yield from self._results(path, duration_s, self.limits.timeout_s, (function, arguments))

    def call(
        self, path: Path, duration_s: float, function: Callable[..., Any], *arguments: Any
    ) -> Any:
        """The one result of a function, which may take ``FileLimits.whole_s``; see ``stream``."""
        whole_s = self.limits.whole_s(duration_s)
        (result,) = self._results(path, duration_s, whole_s, (function, arguments))
        return result

    def _results(
        self, path: Path, duration_s: float, each_s: float, job: tuple[Callable[..., Any], Any]
    ) -> Iterator[Any]:
        worker = self._take()
        try:
            yield from worker.run(path, each_s, self.limits.whole_s(duration_s), job)
        finally:
            # Where the caller closes the iterator early, the worker is in the middle of its job.
            if not (worker.is_idle and self._give_back(worker)):
                self._discard(worker)

    def _take(self) -> WorkerProcess:
        """A free worker; one that ended while it waited is not a fault of the next file."""
        with self._lock:
            if self.is_closed:
                raise WorkerStartError("the pool is closed")
            while self._free:
                worker = self._free.pop()
                if not worker.has_ended:
                    return worker
                self._all.remove(worker)
                worker.close()
        worker = WorkerProcess(self.limits, self._module)
        with self._lock:
            if not self.is_closed:
                self._all.append(worker)
                return worker
        worker.close()
        raise WorkerStartError("the pool is closed")

    def _give_back(self, worker: WorkerProcess) -> bool:
        """Keep it for the next job; False where the pool is closed."""
        with self._lock:
            if not self.is_closed:
                self._free.append(worker)
            return not self.is_closed

    def _discard(self, worker: WorkerProcess) -> None:
        with self._lock:
            if worker in self._all:
                self._all.remove(worker)
        worker.close()

"""Threads of the server by kind of work, with bounds of waiting callers and of time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from vlar.apps.serve.errors import busy, too_slow
from vlar.cancellation import cancellable

#: Threads by kind of work; no kind waits for another.
LANES = {
    "reads": 4,
    "changes": 2,
    "queries": 2,
    "pictures": 2,
    "cuts": 1,
    "labels": 1,
    "classifying": 1,
    "embeddings": 1,
    "segments": 1,
    "views": 4,
    "exports": 1,
}

T = TypeVar("T")


class BoundedExecutor:
    """Threads for one kind of work.

    Args:
        name: What callers wait for, such as ``queries``.
        workers: Threads.
        waiting: Most callers that wait for a thread.
    """

    def __init__(self, name: str, workers: int, waiting: int) -> None:
        self.name = name
        self._most = workers + waiting
        self._pending = 0
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(workers, f"vlar-{name}")

    @property
    def pending(self) -> int:
        """Callers that wait or are served."""
        return self._pending

    async def run(self, limit_s: float, function: Callable[..., T], *args: Any, **named: Any) -> T:
        """Run a function on one of the threads.

        A caller that is gone and a time that is over end the work too (``vlar.cancellation``).

        Raises:
            ServeError: 503 where too many wait, 504 after ``limit_s`` seconds.
        """
        over = threading.Event()

        def work_of_caller() -> T:
            with cancellable(over.is_set):
                return function(*args, **named)

        with self._lock:
            if self._pending >= self._most:
                raise busy(self.name)
            self._pending += 1
        work = self._threads.submit(work_of_caller)
        work.add_done_callback(self._done)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(work), limit_s)
        except (asyncio.TimeoutError, TimeoutError):
            raise too_slow(limit_s) from None
        finally:
            over.set()

    def close(self) -> None:
        """Start nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _done(self, _: Future[Any]) -> None:
        with self._lock:
            self._pending -= 1

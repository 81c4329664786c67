"""Work of one kind in a few threads, with a bounded number of callers that wait.

Memory stays flat however many ask: a caller beyond the bound is refused at once with status 503.
Time is bounded too: a caller is answered 504 in time, and the work keeps its thread until it ends,
so work that hangs cannot start more threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from vlar.serve.errors import busy, too_slow

T = TypeVar("T")


class Lane:
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
        """What a function gives, from one of the threads.

        Raises:
            ServeError: 503 where too many wait, 504 after ``limit_s`` seconds.
        """
        with self._lock:
            if self._pending >= self._most:
                raise busy(self.name)
            self._pending += 1
        work = self._threads.submit(partial(function, *args, **named))
        work.add_done_callback(self._done)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(work), limit_s)
        except (asyncio.TimeoutError, TimeoutError):
            raise too_slow(limit_s) from None

    def close(self) -> None:
        """Start nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _done(self, _: Future[Any]) -> None:
        with self._lock:
            self._pending -= 1

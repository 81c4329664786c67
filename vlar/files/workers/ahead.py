"""Work done ahead of its consumer, in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from vlar.cancellation import carried, check, current
from vlar.errors import UsageError

R = TypeVar("R")
V = TypeVar("V")


def in_order(
    requests: Iterator[R],
    read: Callable[[R], V],
    *,
    workers: int = 2,
    look_ahead: int = 4,
    interrupt: Callable[[], None] | None = None,
) -> Iterator[V]:
    """``read`` of each request, in order, worked ahead of the consumer in threads.

    Args:
        requests: Drawn from only as they are needed.
        read: Called in threads; what it raises is raised where its turn comes.
        workers: Threads.
        look_ahead: Results that are made or wait beyond the one the caller holds.
        interrupt: Called where the caller stops early, so that running calls of ``read`` return
            soon; without it they are waited for.

    Raises:
        UsageError: ``workers`` or ``look_ahead`` is below 1.
    """
    if workers < 1 or look_ahead < 1:
        raise UsageError(f"workers {workers} and look_ahead {look_ahead} must be at least 1")
    return _in_order(requests, read, workers, look_ahead, interrupt)


def _in_order(
    requests: Iterator[R],
    read: Callable[[R], V],
    workers: int,
    look_ahead: int,
    interrupt: Callable[[], None] | None,
) -> Iterator[V]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="vlar-decode")
    ahead: deque[Future[V]] = deque()
    read, is_over = carried(read), current()
    try:
        while True:
            check()
            for request in islice(requests, look_ahead - len(ahead)):
                ahead.append(pool.submit(read, request))
            if not ahead:
                return
            yield ahead.popleft().result()
    except BaseException:
        # Calls of work that is over end by themselves, and an interrupt may end those of others.
        if interrupt is not None and not is_over():
            interrupt()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)

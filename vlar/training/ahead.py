"""Results of a function, the next one made in a thread while the caller works on this one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """A function of a place in a known order; at most one result waits.

    The thread makes one result at a time, in order, so the function needs no lock of its own. Its
    errors are raised by ``take`` of the same place.

    Args:
        make: The function; it must depend on its arguments alone.
    """

    def __init__(self, make: Callable[..., T]) -> None:
        self._make = make
        self._pool: ThreadPoolExecutor | None = None
        self._next: tuple[tuple[Any, ...], Future[T]] | None = None

    def take(self, place: tuple[Any, ...], following: tuple[Any, ...] | None) -> T:
        """The result at a place, whether it was begun or not; the following one is begun.

        Args:
            place: Arguments of the function.
            following: Those of the next call; None where it is not known yet.
        """
        pool = self._pool = self._pool or ThreadPoolExecutor(1, "vlar-ahead")
        begun, self._next = self._next, None
        is_next = begun is not None and begun[0] == place
        future = begun[1] if begun and is_next else pool.submit(self._make, *place)
        result = future.result()
        if following is not None:
            self._next = following, pool.submit(self._make, *following)
        return result

    def close(self) -> None:
        """Drop what waits, and wait for the thread."""
        pool, self._pool, self._next = self._pool, None, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

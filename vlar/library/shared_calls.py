"""Calls of several threads that go together: what waits while one runs is the next batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")
_MOST = 32


class _Call(Generic[A, R]):
    """An argument and, once it was called, its result."""

    def __init__(self, argument: A) -> None:
        self.argument = argument
        self.results: list[R] = []


class SharedCalls(Generic[A, R]):
    """A function of several arguments that any thread calls with one.

    Nobody waits for company: a call that finds the function free runs at once, alone. Those that
    come meanwhile go together as soon as it ends, at most 32 at a time.

    Args:
        function: Gives a result for each argument, the same in any company.
    """

    def __init__(self, function: Callable[[Sequence[A]], Sequence[R]]) -> None:
        self._function = function
        self._waiting: list[_Call[A, R]] = []
        self._lock, self._running = threading.Lock(), threading.Lock()

    def __call__(self, argument: A) -> R:
        """The result of an argument; an error is that of the thread that met it alone."""
        call = _Call[A, R](argument)
        with self._lock:
            self._waiting.append(call)
        with self._running:
            if not call.results:
                self._run(call)
        return call.results[0]

    def _run(self, call: _Call[A, R]) -> None:
        with self._lock:
            others = [other for other in self._waiting if other is not call][: _MOST - 1]
            batch = [call, *others]
            self._waiting = [other for other in self._waiting if other not in batch]
        try:
            for other, result in zip(
                batch, self._function([each.argument for each in batch]), strict=True
            ):
                other.results.append(result)
        except BaseException:  # it may be another's, or this caller has left: each for itself
            with self._lock:
                self._waiting = [*others, *self._waiting]
            if not others:
                raise
            call.results.extend(self._function([call.argument]))

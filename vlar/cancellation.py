"""Work that ends with its request: loops of decoding, encoding and searching ask ``check``.

A thread cannot be ended from outside. The code that starts some work states when it is over
(``cancellable``); the work itself looks between two windows, frames or batches, and stops there.
Outside of such a context ``check`` costs 0.1 microseconds and does nothing.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

R = TypeVar("R")
V = TypeVar("V")


class Cancelled(BaseException):
    """Nobody waits for the answer any more.

    It is not an ``Exception``: code that turns the errors of one file into a value must not go on
    with the next one.
    """


_is_over: contextvars.ContextVar[Callable[[], bool] | None] = contextvars.ContextVar(
    "vlar-is-over", default=None
)


@contextmanager
def cancellable(is_over: Callable[[], bool] | None) -> Generator[None]:
    """State when the work inside is over.

    Args:
        is_over: Asked by ``check``, in any thread; None for work that goes on to its end, such as
            loading a model that other requests wait for too.
    """
    token = _is_over.set(is_over)
    try:
        yield
    finally:
        _is_over.reset(token)


def check() -> None:
    """Stop work that is over.

    Raises:
        Cancelled: it is.
    """
    is_over = _is_over.get()
    if is_over is not None and is_over():
        raise Cancelled


def current() -> Callable[[], bool]:
    """A function that answers whether the present work is over, also outside of its context."""
    return _is_over.get() or bool


def carried(function: Callable[[R], V]) -> Callable[[R], V]:
    """A function that is part of the present work in whatever thread it runs."""
    is_over = _is_over.get()
    if is_over is None:
        return function

    def run(argument: R) -> V:
        with cancellable(is_over):
            check()
            return function(argument)

    return run

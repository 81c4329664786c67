"""One warm worker of this program, for files that come one at a time."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from vlar.files.workers.pool import WorkerPool, can_isolate
from vlar.files.workers.process import FileLimits, WorkerStartError


class _Workers:
    """The pool of this program for some limits, and as many turns as it may have workers."""

    def __init__(self, limits: FileLimits) -> None:
        # A worker of vlar's own readers serves all sensors.
        sensor_limits = limits.for_sensor("any")
        self.limits = limits
        self.pool = WorkerPool(sensor_limits, module="vlar.media.signals")
        self.turns = threading.BoundedSemaphore(limits.workers)
        self.is_off = False


_lock = threading.Lock()
_now: _Workers | None = None


def items(path: Path, function: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
    """The items that a function gives, or its one result, from a worker that stays warm.

    The first call starts it, and it ends with the program. In a worker, without workers, and for
    functions that a worker cannot import, the function runs in this process.

    Args:
        path: The file that is read, for error messages.
        function: Function of a module; so are the classes among the arguments.
        arguments: What pickle can carry.

    Raises:
        DecodeCrash, DecodeTimeout, DecodeOutOfMemory: the worker was lost with the file.
        VlarError: what the function raises.
        RuntimeError: a foreign exception of the function, in words.
    """
    workers = _workers_for(function, *arguments)
    is_read = False
    if workers is not None and not workers.is_off:
        try:
            yield from workers.pool.stream(path, 0.0, function, *arguments)
            is_read = True
        except WorkerStartError:
            workers.is_off = True
    if not is_read:
        result = function(*arguments)
        yield from result if isinstance(result, Iterator) else [result]


def call(path: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    """The one result of a function, as ``items``; threads wait until a worker is free."""
    workers = _workers_for(function, *arguments)
    with workers.turns if workers is not None else nullcontext():
        (result,) = items(path, function, *arguments)
    return result


def _workers_for(function: Callable[..., Any], *arguments: Any) -> _Workers | None:
    limits = FileLimits.from_environment()
    classes = [argument for argument in arguments if isinstance(argument, type)]
    if limits.workers < 1 or not all(map(can_isolate, [function, *classes])):
        return None
    global _now
    with _lock:
        if _now is None or _now.limits != limits:
            _close()
            _now = _Workers(limits)
        return _now


def _close() -> None:
    if _now is not None:
        _now.pool.close()


def _forget() -> None:
    """Leave the workers of the program to it, in a process that was forked from it."""
    global _now, _lock
    _now, _lock = None, threading.Lock()


atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

"""Prefetching: one thread draws items while the caller works on earlier ones."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

T = TypeVar("T")


class _Buffer(deque[T]):
    """What waits between the two threads."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()
        self.weight = 0
        self.ended = False
        self.unwanted = False
        self.error: BaseException | None = None


def prefetch(items: Iterator[T], weight: Callable[[T], int], most: int) -> Generator[T, None, None]:
    """Yield ``items`` in order, drawn beforehand in a thread.

    At most ``most`` in total weight waits (one item always may), whatever the number of items. An
    exception of ``items`` is raised where its turn comes. Closing this generator stops the thread
    after the item in hand.
    """
    buffer: _Buffer[T] = _Buffer()
    thread = threading.Thread(
        target=_fill, args=(items, weight, most, buffer), name="vlar-look-ahead", daemon=True
    )
    thread.start()
    try:
        while True:
            with buffer.changed:
                while not buffer and not buffer.ended:
                    buffer.changed.wait()
                if not buffer:
                    break
                item = buffer.popleft()
                buffer.weight -= weight(item)
                buffer.changed.notify_all()
            yield item
        if buffer.error is not None:
            raise buffer.error
    finally:
        with buffer.changed:
            buffer.unwanted = True
            buffer.changed.notify_all()
        thread.join()


def _fill(items: Iterator[T], weight: Callable[[T], int], most: int, buffer: _Buffer[T]) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            heavy = weight(item)
            with buffer.changed:
                while buffer and buffer.weight + heavy > most and not buffer.unwanted:
                    buffer.changed.wait()
                if buffer.unwanted:
                    break
                buffer.append(item)
                buffer.weight += heavy
                buffer.changed.notify_all()
    except BaseException as raised:  # noqa: BLE001 - it is raised again in the caller's thread
        error = raised
    with buffer.changed:
        buffer.error = error
        buffer.ended = True
        buffer.changed.notify_all()

"""Values that were made last, kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar, cast

T = TypeVar("T")


class Recent:
    """The values that were made last, by key.

    Args:
        most: Number of values; the oldest go first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[Hashable, object] = {}

    def get(self, key: Hashable) -> object | None:
        """Value of a key; None without one."""
        return self._values.get(key)

    def keep(self, key: Hashable, make: Callable[[], T]) -> T:
        """Value of a key, made where it is not kept."""
        if key not in self._values:
            value = make()
            while len(self._values) >= self._most:
                del self._values[next(iter(self._values))]
            self._values[key] = value
        return cast("T", self._values[key])

    def clear(self) -> None:
        """Forget all values."""
        self._values = {}

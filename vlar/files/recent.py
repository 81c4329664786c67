"""Values that were asked for last, kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

T = TypeVar("T")
_ABSENT = object()


class Recent:
    """The values that were asked for last, by key.

    Args:
        most: Number of values; those that nobody asked for longest go first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[Hashable, object] = {}

    def get(self, key: Hashable) -> Any:
        """Value of a key; None without one."""
        return self._values.get(key)

    def keep(self, key: Hashable, make: Callable[[], T]) -> T:
        """Value of a key, made where it is not kept."""
        value = self._values.pop(key, _ABSENT)
        if value is _ABSENT:
            value = make()
        while len(self._values) >= self._most:
            self._values.pop(next(iter(self._values)), None)
        self._values[key] = value  # the last one asked for is the last
        return cast("T", value)

    def clear(self) -> None:
        """Forget all values."""
        self._values = {}

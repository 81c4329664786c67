"""Parts that are known while a test runs: other tests list what there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vlar import registry


@contextmanager
def known(*parts: tuple[str, str, Any]) -> Iterator[None]:
    """Parts as (kind, name, part), registered until the end."""
    for kind, name, part in parts:
        registry.register(kind, name)(part)
    try:
        yield
    finally:
        for kind, name, _ in parts:
            del registry.loaded[kind][name]

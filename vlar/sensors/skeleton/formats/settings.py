"""Settings in the first line of a table: ``# layout=ntu25 unit=m rate_hz=30``."""

from __future__ import annotations

from typing import Any

_TEXTS = ("layout", "unit")
_NUMBERS = ("rate_hz", "width", "height")


def stated(line: str) -> dict[str, Any]:
    """The settings of a line that begins with ``#``.

    Raises:
        ValueError: a value is not a number, or a name is unknown.
    """
    found: dict[str, Any] = {}
    for word in line.lstrip("#").replace(",", " ").split():
        name, equals, value = word.partition("=")
        name = name.strip().lower()
        if not equals:
            continue
        if name not in (*_TEXTS, *_NUMBERS):
            known = ", ".join((*_TEXTS, *_NUMBERS))
            raise ValueError(f"its first line sets {name[:40]!r}; {known} are known")
        try:
            found[name] = value if name in _TEXTS else float(value)
        except ValueError:
            raise ValueError(f"its first line sets {name} to {value[:40]!r}, no number") from None
    return found

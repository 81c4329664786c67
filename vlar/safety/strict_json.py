"""JSON of others: finite numbers, each name once, and not nested without end.

The time is linear in the length of the text; what its value takes is estimated before it is parsed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from vlar.safety.files import require_memory

DEEPEST = 40
_LARGEST = 10**300  # of an integer; below the largest float
# Bytes that the interpreter takes: for a number and its place, an empty list, an object.
_ITEM, _LIST, _OBJECT = 40, 64, 250
_DEEP = f"it is nested more than {DEEPEST} levels deep"


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON in UTF-8, nested deeper than ``DEEPEST``, a number is not finite
            or larger than a float can be, an object has a name twice, or the value would take more
            memory than a file may; the message is a sentence.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        parts = _ITEM * text.count(",") + _LIST * text.count("[") + _OBJECT * text.count("{")
        require_memory(parts + 2 * len(text))
        value = json.loads(text, parse_constant=_refused, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError(_DEEP) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text (byte {error.start})") from None
    level: list[Any] = [value]
    for _ in range(DEEPEST + 1):
        level = [one for inner in level for one in _inside(inner)]
    if level:
        raise ValueError(_DEEP)
    return value


def _inside(value: Any) -> Iterable[Any]:
    """The values of an object or a list; a number is checked here."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it holds a number that is not finite")
    if isinstance(value, int) and not -_LARGEST < value < _LARGEST:
        digits = len(str(abs(value)))
        raise ValueError(f"it holds a number of {digits} digits, which no float can be")
    return ()


def walk(value: Any) -> Iterator[tuple[int, tuple[str | int, ...], Any]]:
    """Depth, place and value of everything in a JSON value, without recursion."""
    waiting: list[tuple[int, tuple[str | int, ...], Any]] = [(0, (), value)]
    while waiting:
        depth, place, inner = waiting.pop()
        yield depth, place, inner
        if depth > DEEPEST:
            continue
        if isinstance(inner, dict):
            waiting += [(depth + 1, (*place, str(key)), one) for key, one in inner.items()]
        elif isinstance(inner, list):
            waiting += [(depth + 1, (*place, key), one) for key, one in enumerate(inner)]


def _refused(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is not a number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"it has the name {twice[:80]!r} twice")
    return found

"""JSON of others: finite numbers, each name once, and not nested without end."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

DEEPEST = 40
_DEEP = f"it is nested more than {DEEPEST} levels deep"


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON in UTF-8, nested deeper than ``DEEPEST``, a number is not finite,
            or an object has a name twice; the message is a sentence.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_refused, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError(_DEEP) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text (byte {error.start})") from None
    for depth, _, inner in walk(value):
        if depth > DEEPEST:
            raise ValueError(_DEEP)
        if isinstance(inner, float) and not math.isfinite(inner):
            raise ValueError("it holds a number that is not finite")
    return value


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
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has the name {twice[:80]!r} twice")
    return found

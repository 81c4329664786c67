"""Parses durations as people write them: ``4``, ``4s``, ``500 ms``, ``1.5 minutes``."""

from __future__ import annotations

import math
import re

_SPAN = re.compile(r"(?P<value>\d+(\.\d+)?|\.\d+)\s*(?P<unit>[^\W\d_]*)", re.IGNORECASE)
_IN_SECONDS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
}
UNITS = "ms, s, m or h"


def read_seconds(text: str) -> float | None:
    """Seconds; None if the text is not a number with a known unit.

    >>> read_seconds("500ms"), read_seconds("2 min"), read_seconds("4"), read_seconds("4 years")
    (0.5, 120.0, 4.0, None)
    """
    match = _SPAN.fullmatch(text.strip())
    factor = _IN_SECONDS.get(match["unit"].lower()) if match else None
    if match is None or factor is None:
        return None
    value = float(match["value"]) * factor
    return value if math.isfinite(value) else None

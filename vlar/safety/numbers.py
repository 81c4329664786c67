"""Numbers in the settings of others: of the right type and in a range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MOST = 1e12


def number(
    settings: Mapping[str, Any], name: str, *, above: float = -MOST, at_most: float = MOST
) -> float:
    """A setting as a finite number.

    Args:
        settings: Where it stands.
        name: Its key.
        above: Bound that it exceeds.
        at_most: Largest value.

    Raises:
        ValueError: it is missing, or not a number in the range; the message is a sentence.
    """
    if name not in settings:
        raise ValueError(f"{name} is missing")
    value = settings[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # The range first: an integer may be too large to be a float.
    if not is_number or not above < value <= at_most or not math.isfinite(value):
        raise ValueError(f"{name} is {str(value)[:40]}, not a number above {above:g}")
    return float(value)

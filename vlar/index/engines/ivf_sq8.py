"""Inverted lists of vectors in one byte a number, refined with the truth.

Half the file of ``ivf``; the scores are only near, so more rows are proposed than were asked for,
and the float16 vectors of the truth decide among them.
"""

from __future__ import annotations

from vlar.index.engines.ivf import IvfIndex
from vlar.registry import register

_PROPOSED, _AT_LEAST = 4, 32


@register("engine", "ivf-sq8")
class IvfSq8Index(IvfIndex):
    """``IvfIndex`` with ``QT_8bit`` lists; see there."""

    name = "ivf-sq8"
    rows = (4_000_001, None)
    why = "inverted lists of one byte a number, refined with the float16 truth: half the cache"
    quantizer = "QT_8bit"

    @staticmethod
    def reach(k: int) -> int:
        """How many rows hold the best ``k`` by the truth."""
        return max(_PROPOSED * k, k + _AT_LEAST)

"""Inverted lists of vectors with one byte a number, refined with the stored vectors.

The file is half as large as that of ``ivf``. The scores are only approximate, so more rows are
proposed than were asked for, and the stored float16 vectors decide among them.
"""

from __future__ import annotations

from vlar.index.engines.ivf import IvfEngine
from vlar.registry import register

_PROPOSED, _AT_LEAST = 4, 32


@register("engine", "ivf-sq8")
class IvfSq8Engine(IvfEngine):
    """``IvfEngine`` with ``QT_8bit`` lists."""

    name = "ivf-sq8"
    rows = (4_000_001, None)
    why = "inverted lists of one byte a number, refined with the stored vectors: half the cache"
    quantizer = "QT_8bit"

    @staticmethod
    def proposals(k: int) -> int:
        """Number of proposals that hold the best ``k`` rows by the stored vectors."""
        return max(_PROPOSED * k, k + _AT_LEAST)

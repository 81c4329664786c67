"""FROSTER: a student that is adapted to video and held near the frozen CLIP (arXiv 2402.03241).

Written from the method's formulas, not from its code.
"""

from __future__ import annotations

from vlar.adapters.froster.adapter import Froster
from vlar.adapters.froster.config import FrosterConfig

__all__ = ["Froster", "FrosterConfig"]

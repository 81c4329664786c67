"""C2C: verbs and objects learned apart, for pairs that training never shows."""

from __future__ import annotations

from vlar.adapters.c2c.adapter import C2C
from vlar.adapters.c2c.config import C2CConfig

__all__ = ["C2C", "C2CConfig"]

"""Attentive semantic units: what can be pointed at steers the vector of a clip."""

from __future__ import annotations

from vlar.adapters.asu.adapter import Asu
from vlar.adapters.asu.config import AsuConfig

__all__ = ["Asu", "AsuConfig"]

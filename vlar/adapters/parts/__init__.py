"""Parts of the body and their descriptions (GAP)."""

from __future__ import annotations

from vlar.adapters.parts.adapter import Parts
from vlar.adapters.parts.config import PartsConfig

__all__ = ["Parts", "PartsConfig"]

"""A CLIP trained whole on video, frames mixed inside its image tower; FROSTER's usual student."""

from __future__ import annotations

from vlar.adapters.tuned.adapter import Tuned
from vlar.adapters.tuned.config import TunedConfig

__all__ = ["Tuned", "TunedConfig"]

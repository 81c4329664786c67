"""PLAR: learned prompts mixed for each clip, with prompts of motion, people and text."""

from __future__ import annotations

from vlar.adapters.plar.adapter import Plar
from vlar.adapters.plar.config import PlarConfig

__all__ = ["Plar", "PlarConfig"]

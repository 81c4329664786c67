"""Temporal: a small transformer over the frame features of any encoder."""

from __future__ import annotations

from vlar.adapters.temporal.adapter import Temporal
from vlar.adapters.temporal.config import TemporalConfig

__all__ = ["Temporal", "TemporalConfig"]

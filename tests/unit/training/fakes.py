"""An encoder whose frame features are given, and clips in which only the order tells the label."""

from __future__ import annotations

from vlar.testing.material import N_FRAMES as T
from vlar.testing.material import ORDERED_LABELS as LABELS
from vlar.testing.material import SmallEncoder as FakeEncoder
from vlar.testing.material import ordered_clips

__all__ = ["LABELS", "FakeEncoder", "T", "ordered_clips"]

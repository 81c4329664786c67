"""Corruptions of frames: five severities each, seeded (``docs/corruptions.md``)."""

from vlar.evaluation.corruptions.base import SEVERITIES, Corruption, corrupt

__all__ = ["SEVERITIES", "Corruption", "corrupt"]

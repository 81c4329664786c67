"""Corruptions of frames: five severities each, seeded (``docs/corruptions.md``)."""

from vlar.evaluation.corruptions.base import SEVERITIES, Corruption, corrupt, names_for

__all__ = ["SEVERITIES", "Corruption", "corrupt", "names_for"]

"""Corruptions of frames: five severities each, seeded (``docs/corruptions.md``)."""

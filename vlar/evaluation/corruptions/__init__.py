"""Corruptions of frames: five severities each, seeded (``docs/protocols.md``)."""

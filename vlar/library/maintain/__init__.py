"""Whole libraries: verified, repaired, compacted, copied, moved to another model."""

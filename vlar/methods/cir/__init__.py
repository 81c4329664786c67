"""Clips are rebuilt from clips of other domains (CIR)."""

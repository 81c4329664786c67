"""Verify, compact, upgrade and describe a library."""

"""Recordings of any sensor to clips."""

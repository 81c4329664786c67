"""Streams and cameras: clips of what they show now, and an answer for each."""

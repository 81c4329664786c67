"""Temporal: a small transformer over the frame features of any encoder."""

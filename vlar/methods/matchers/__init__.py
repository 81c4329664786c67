"""Matchers of frame sequences (OTAM, Bi-MHM and others)."""

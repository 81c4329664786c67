"""Matchers of frame sequences without weights: OTAM, Bi-MHM and others."""

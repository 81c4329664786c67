"""Ingest on a Ray cluster."""

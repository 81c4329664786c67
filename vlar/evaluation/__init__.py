"""Protocols, data sets, corruptions and reports."""

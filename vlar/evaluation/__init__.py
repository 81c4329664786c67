"""Judging models: metrics, protocols, corruptions, data sets, reports."""

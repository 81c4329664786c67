"""Metrics as plain functions of scores and right labels."""

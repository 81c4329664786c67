"""Heads: encoded clips to scores over labels, unknown clips, calibration."""

"""Damage of video files: what was lost, and what a file cannot prove."""

"""Towers for event cameras: spiking neurons, scans, groups of points, a contrast of frames."""

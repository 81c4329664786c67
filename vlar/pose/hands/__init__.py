"""Hands near the camera: their networks, their tracks and what they do."""

"""Bodies in clips: frames to tracks, tracks to motion attributes."""

"""Bodies in clips, and what they do in words: frames to tracks, tracks to motion attributes."""

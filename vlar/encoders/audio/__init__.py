"""``audio``: log-mel statistics of sound, and what a sound is like in words."""

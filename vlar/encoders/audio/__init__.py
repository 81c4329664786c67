"""``audio``: statistics of sound, mel bands over time, and what a sound is like in words."""

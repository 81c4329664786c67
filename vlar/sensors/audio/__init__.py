"""``audio``: sound files, and the sound of videos."""

"""Data sets as they lie on disk: one reader a layout; nothing is fetched."""

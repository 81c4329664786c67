"""Motion attributes of bodies, found by discovery, one file a subject."""

"""Motion attributes of bodies, found by discovery, one module per subject."""

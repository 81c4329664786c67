"""Tags of photo managers by XMP sidecars, and of names of files."""

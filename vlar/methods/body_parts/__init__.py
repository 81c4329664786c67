"""Parts of the body and their descriptions (GAP)."""

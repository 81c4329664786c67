"""Motion attributes of words about movements."""

"""A ridge regression from clips to the vectors of texts, and the base of such maps."""

"""A low-dimensional map from clips to the vectors of labels, in closed form, on weighted data."""

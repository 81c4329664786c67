"""A map from clips to the vectors of labels in closed form, on weighted clips (ECCV 2016)."""

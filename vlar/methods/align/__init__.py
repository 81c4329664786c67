"""Align: a small map from networks without texts to the space of sentences."""

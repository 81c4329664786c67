"""A text map from words to features, for labels without examples."""

"""Frozen towers: frames to features, texts to vectors, one file an encoder."""

"""Rejectors: whether a clip shows none of the known labels, one file each."""

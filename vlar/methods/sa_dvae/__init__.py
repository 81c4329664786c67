"""Disentangled variational autoencoders of clips and texts (SA-DVAE)."""

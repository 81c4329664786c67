"""Prototypical contrastive learning over a label tree."""

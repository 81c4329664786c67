"""Consistency of predictions under changes of a clip."""

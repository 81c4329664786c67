"""Whole recordings with annotations: what is learned from them, and what is answered then."""

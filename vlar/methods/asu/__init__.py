"""Attentive semantic units: what can be pointed at steers the vector of a clip."""

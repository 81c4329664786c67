"""Cross reconstruction of actions and subjects."""

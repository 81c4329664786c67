"""A self-organising map as a few-shot head."""

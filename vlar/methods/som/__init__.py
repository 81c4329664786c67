"""Key postures on a self-organising map as a few-shot head (Gharaee 2018)."""

"""Heads that learn from a support set, one file each."""

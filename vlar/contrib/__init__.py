"""Bridges to other libraries' evaluations; each needs an extra of its own."""

"""Reads what others made: regular files of a bounded size, strict JSON, arrays that are numbers.

docs/security.md describes what is trusted and what is not.
"""

"""Queries: text to a plan, a plan to ranked spans."""

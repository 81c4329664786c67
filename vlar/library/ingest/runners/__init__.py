"""Runners of an ``add``: in this process, in several, on a Ray cluster."""

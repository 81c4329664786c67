"""Tracks of the points of anything: files of pose tools, layouts as data, identities."""

"""``skeleton``: joints over time, from depth cameras, pose networks and motion capture."""

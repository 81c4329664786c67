"""``depth``: the outline of a person and how far it is, over time."""

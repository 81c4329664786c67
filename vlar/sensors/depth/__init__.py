"""``depth``: distances in millimetres, picture by picture."""

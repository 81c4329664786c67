"""``skeleton``: joints of any layout as bodies that answer words, and as paths for examples."""

"""The source of truth of a library: an SQLite database and what writes it."""

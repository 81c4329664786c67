"""A student of one sensor learns the answers of teachers of others."""

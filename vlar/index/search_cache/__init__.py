"""The search index on disk and in memory: a cache that can be deleted and rebuilt."""

"""Libraries on disk: rows, their source of truth, engines, ingest, search, maintenance."""

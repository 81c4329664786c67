"""Ingestion of files and vectors as rows."""

"""Addresses, lists and archives that an ``add`` names: S3, HTTP, Parquet and CSV, WebDataset."""

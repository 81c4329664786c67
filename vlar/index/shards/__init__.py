"""Embeddings as Parquet files: written by an ``add``, or by anybody; read into a library."""

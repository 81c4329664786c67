"""Discovery in a library without a query: unusual windows, duplicates, highlights."""

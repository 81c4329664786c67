"""Re-rankers: parts that score the best candidates of a query again. One file each."""

"""Re-rank the hits of a query by the opinion of an answerer."""

"""Several sensors of one moment as one vector; parts that are missing are masked."""

"""Label states that leave while they come."""

"""Training: recipes, and what turns a configuration into an adapted model."""

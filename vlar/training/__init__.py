"""Training: recipes, one loop for every adapter, and what turns a configuration into a model."""

"""Names to prompts to descriptions: label lists, template sets and banks."""

"""Names to texts: label lists, prompts, banks, descriptions, words of motion."""

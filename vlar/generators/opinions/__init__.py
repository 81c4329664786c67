"""Second opinions: another model, a language model or a person chooses among a few labels."""

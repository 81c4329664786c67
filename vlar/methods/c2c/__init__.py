"""C2C: verbs and objects learned apart, for pairs that training never shows."""

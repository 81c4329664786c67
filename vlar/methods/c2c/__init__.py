"""C2C: verbs and objects learned apart, for unseen pairs (Li et al., ECCV 2024)."""

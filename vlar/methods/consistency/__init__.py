"""FixMatch: predictions hold under changes of a clip (Sohn et al., NeurIPS 2020)."""

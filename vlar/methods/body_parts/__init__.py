"""GAP: parts of the body and the clauses that describe them (Xiang et al., ICCV 2023)."""

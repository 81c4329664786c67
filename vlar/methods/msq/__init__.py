"""MSQNet: each label is a query of its text and of the clip (Mondal et al. 2023)."""

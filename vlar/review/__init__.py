"""The review loop: which clips to label next, answers of labelling tools, and the support set."""

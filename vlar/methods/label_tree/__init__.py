"""Loss over a tree of labels."""

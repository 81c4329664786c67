"""A loss over a tree of labels (Chen et al., CVPR 2022, as in PCAN)."""

"""File formats of skeletons, one file a family; they are found by their ``@skeleton_format``."""

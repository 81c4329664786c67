"""SkeletonX: actions and performers of clips are exchanged (Zhang et al. 2025)."""

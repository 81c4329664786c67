"""A policy that chooses the size of each frame, or skips it (AR-Net)."""

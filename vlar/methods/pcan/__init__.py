"""PCAN: prototypes under a label tree keep confused labels apart (Li et al., AAAI 2025)."""

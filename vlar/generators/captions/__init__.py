"""Captioners: sentences about what a clip shows, one file each; ``base`` has the contract."""

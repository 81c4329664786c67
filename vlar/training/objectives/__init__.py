"""Objectives: parts that add to a training, one file each; ``base`` has the contract."""

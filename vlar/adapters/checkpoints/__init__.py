"""What reading the released checkpoints of different methods has in common: files and weights."""

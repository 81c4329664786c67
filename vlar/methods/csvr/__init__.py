"""CSVR: clips learn from their later poses, their key frames and their next frames."""

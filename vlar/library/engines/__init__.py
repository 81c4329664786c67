"""Search structures over rows, one file each."""

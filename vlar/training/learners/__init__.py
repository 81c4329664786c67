"""How an adapted model is made, one file each."""

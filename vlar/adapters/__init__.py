"""Trained parts around or inside an encoder; ``base`` has the contract."""

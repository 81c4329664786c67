"""Contract of adapters and what all of them share: settings, views, training steps, checkpoints."""

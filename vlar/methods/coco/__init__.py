"""Many descriptions a label: clips are aligned with label texts and with descriptions (CoCo)."""

"""MAXI: learning from clips without labels and bags of words (Lin et al., ICCV 2023)."""

"""SA-DVAE: disentangled autoencoders of clips and texts (Li et al., ECCV 2024)."""

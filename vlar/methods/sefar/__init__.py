"""SeFAR: semi-supervised fine-grained recognition (Huang et al., AAAI 2025)."""

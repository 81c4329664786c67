"""Deep evidential action recognition (Bao et al., ICCV 2021)."""

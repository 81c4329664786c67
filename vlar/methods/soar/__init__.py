"""SOAR: scene-debiasing open-set action recognition (Zhai et al., ICCV 2023)."""

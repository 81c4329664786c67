"""Disentangled variational autoencoders of clips and texts (SA-DVAE)."""

from __future__ import annotations

from vlar.adapters.sa_dvae.adapter import SaDvae
from vlar.adapters.sa_dvae.config import SaDvaeConfig

__all__ = ["SaDvae", "SaDvaeConfig"]

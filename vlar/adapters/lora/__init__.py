"""LoRA in the towers of a CLIP or SigLIP, through peft (arXiv 2106.09685)."""

from __future__ import annotations

from vlar.adapters.lora.adapter import Lora
from vlar.adapters.lora.config import LoraConfig

__all__ = ["Lora", "LoraConfig"]

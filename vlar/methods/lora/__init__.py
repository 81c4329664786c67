"""LoRA in the towers of a CLIP or SigLIP, through peft (arXiv 2106.09685)."""

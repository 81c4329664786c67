"""Token reuse: a frozen ViT computes the patches of a frame that changed, and keeps the others."""

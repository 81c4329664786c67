"""What the CLIP-like encoders share: pixels, weights, and one view of their transformer blocks.

Everything in here imports torch at the top; ``vlar.encoders`` reaches it inside functions only.
"""

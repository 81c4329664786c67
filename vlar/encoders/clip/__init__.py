"""Common code of the CLIP-like encoders: pixels, weights, one view of their blocks.

Everything in here imports torch at the top; ``vlar.encoders`` reaches it inside functions only.
"""

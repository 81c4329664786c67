"""EZ-CLIP: temporal prompts and bottleneck adapters in a frozen CLIP (arXiv 2312.08010).

Written from the method's formulas, not from its code.
"""

"""FROSTER: a student that is adapted to video and held near the frozen CLIP (arXiv 2402.03241).

Written from the method's formulas, not from its code.
"""

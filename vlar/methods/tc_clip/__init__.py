"""TC-CLIP: temporal contextualization and video-conditional prompting (arXiv 2404.09490).

Written from the method's formulas, not from its code.
"""

"""TC-CLIP: temporal contextualization and video-conditional prompting (arXiv 2404.09490).

Written from the method's formulas, not from its code.
"""

from __future__ import annotations

from vlar.adapters.tc_clip.adapter import TcClip
from vlar.adapters.tc_clip.config import TcClipConfig

__all__ = ["TcClip", "TcClipConfig"]

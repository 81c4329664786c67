"""EZ-CLIP: temporal prompts and bottleneck adapters in a frozen CLIP (arXiv 2312.08010).

Written from the method's formulas, not from its code.
"""

from __future__ import annotations

from vlar.adapters.ez_clip.adapter import EzClip
from vlar.adapters.ez_clip.config import EzClipConfig

__all__ = ["EzClip", "EzClipConfig"]

"""What a recording shows when: scores over time, segments, and figures of repeated work."""

from __future__ import annotations

from vlar.timeline.process import Process, measure
from vlar.timeline.recordings import TimelineRules, find_segments
from vlar.timeline.segments import Segment

__all__ = ["Process", "Segment", "TimelineRules", "find_segments", "measure"]

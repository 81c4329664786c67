"""Gaps in time stamps that are otherwise evenly spaced: frames are missing there.

Cameras and recorders that leave out frames do so often, or at uneven times. A stream that is even
but for one or two short gaps has lost packets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

SILENT_CODECS = frozenset(
    {"vp8", "vp9", "libvpx-vp9", "mjpeg", "mpeg4", "prores", "wmv1", "wmv2", "msmpeg4v3"}
)
"""Their frames carry no numbers: where some are missing, the time stamps alone show it."""
NUMBERED_CODEC = "h264"
"""A gap in its times is damage where numbers of pictures are missing too (``picture_order``)."""

GAP_FRAMES = 1.5
"""A span between two frames of more than this many is a gap."""
_LEAST_FRAMES = 16
_MOST_GAPS_SHARE = 0.04
_LONGEST_GAP_FRAMES = 30
_UNEVEN = 0.05


class Hole(NamedTuple):
    """Frames are missing after the one of a time stamp. ``referred``: others need them."""

    stamp: int
    referred: bool = True


def holes(stamps: Sequence[int], *, even: bool = True) -> tuple[int, ...]:
    """The time stamps after which frames may be missing, rising.

    Args:
        stamps: Presentation times of a whole stream in ticks, in any order.
        even: Find none where the other stamps are not evenly spaced.
    """
    if len(stamps) < _LEAST_FRAMES:
        return ()
    ordered = np.sort(np.asarray(stamps, np.int64))
    steps = np.diff(ordered)
    frame = float(np.median(steps))
    is_gap = steps > GAP_FRAMES * frame
    if frame <= 0 or not 0 < np.count_nonzero(is_gap) <= max(2, _MOST_GAPS_SHARE * len(steps)):
        return ()
    if not even:
        return tuple(ordered[:-1][is_gap].tolist())
    # Rounding moves a stamp by up to one tick.
    is_even = np.abs(steps - frame) <= np.maximum(_UNEVEN * frame, 1.0)
    counts = steps[is_gap] / frame
    is_whole = np.abs(counts - np.round(counts)) <= np.maximum(_UNEVEN * counts, 2.0 / frame)
    if not is_even[~is_gap].all() or not is_whole.all() or counts.max() > _LONGEST_GAP_FRAMES:
        return ()
    return tuple(ordered[:-1][is_gap].tolist())


def is_odd_gap(stamps: Sequence[int], at: int) -> bool:
    """Whether the step after ``stamps[at]`` (rising) is a gap, and its neighbours have none."""
    if at + 1 >= len(stamps):
        return False
    near = np.diff(np.asarray(stamps[max(at - 32, 0) : at + 32], np.int64))
    frame = float(np.median(near))
    gaps = int(np.count_nonzero(near > GAP_FRAMES * frame))
    return stamps[at + 1] - stamps[at] > GAP_FRAMES * frame and gaps <= 2


class HoleWatch:
    """Meets gaps in times that come one after the other, and asks what they mean.

    Args:
        most: Ticks; a step of more is a gap.
        has_holes: Whether frames are missing in the file's gaps; asked at the first gap, because
            it reads the file. None where gaps mean nothing.
    """

    def __init__(self, most: float, has_holes: Callable[[], bool] | None) -> None:
        self._most = most
        self._has_holes = has_holes
        self._seen_to = 0

    def finds_hole(self, stamps: Sequence[int], at: int) -> bool:
        """Whether frames are missing before ``stamps[at]`` (rising), and others may need them."""
        if self._has_holes is None:
            return False
        new = stamps[bisect_left(stamps, self._seen_to) : at + 1]
        self._seen_to = stamps[at]
        if not any(later - earlier > self._most for earlier, later in pairwise(new)):
            return False
        if self._has_holes():
            return True
        self._has_holes = None
        return False

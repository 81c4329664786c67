"""The greatest value in a range of time, for many ranges at once; each range is in one video."""

from __future__ import annotations

import numpy as np

from vlar.index.rows import Int64
from vlar.types import Float64

_TOUCH_S = 1e-6


class RangeMax:
    """Answers range maxima by a sparse table (Bender and Farach-Colton 2000): N log N once.

    Args:
        video_ids: (N,) of each value.
        time_s: (N,) of each value.
        value: (N,).
    """

    def __init__(self, video_ids: Int64, time_s: Float64, value: Float64) -> None:
        self._order = np.lexsort((time_s, video_ids))
        self._videos, place = np.unique(video_ids[self._order], return_inverse=True)
        self._ends = np.searchsorted(place, np.arange(len(self._videos)), side="right")
        # One axis for all videos: each begins after the end of the previous one.
        longest = np.zeros(len(self._videos))
        np.maximum.at(longest, place, time_s[self._order])
        self._begin_s = np.concatenate([[0.0], np.cumsum(longest + 1.0)])[:-1]
        self._axis = time_s[self._order] + self._begin_s[place]
        self._value = value[self._order]
        self._levels = [np.arange(len(value))]

    def find(self, video_ids: Int64, low_s: Float64, high_s: Float64) -> Int64:
        """Index (M,) of the best value from ``low_s`` to ``high_s`` (both included) of each video.

        -1 where there is none; of equal values the earliest.
        """
        if not len(self._videos) or not len(video_ids):
            return np.full(len(video_ids), -1)
        place = np.searchsorted(self._videos, video_ids).clip(max=len(self._videos) - 1)
        known = self._videos[place] == video_ids
        begin = np.concatenate([[0], self._ends[:-1]])[place]
        axis = self._begin_s[place]
        low = np.searchsorted(self._axis, axis + low_s - _TOUCH_S, side="left")
        high = np.searchsorted(self._axis, axis + high_s + _TOUCH_S, side="right")
        low, high = np.maximum(low, begin), np.minimum(high, self._ends[place])
        size = np.where(known, high - low, 0)
        found = np.full(len(video_ids), -1)
        some = np.flatnonzero(size > 0)
        best = self._best(low[some], size[some])
        found[some] = self._order[best]
        return found

    def _best(self, low: Int64, size: Int64) -> Int64:
        # A range is covered by two blocks of the largest power of two that fits.
        level = np.frexp(size)[1] - 1
        best = low.copy()
        for step in range(int(level.max(initial=0)) + 1):
            table, chosen = self._level(step), level == step
            left = table[low[chosen]]
            right = table[low[chosen] + size[chosen] - (1 << step)]
            best[chosen] = np.where(self._value[right] > self._value[left], right, left)
        return best

    def _level(self, step: int) -> Int64:
        while len(self._levels) <= step:
            below, half = self._levels[-1], 1 << (len(self._levels) - 1)
            left, right = below[:-half], below[half:]
            self._levels.append(np.where(self._value[right] > self._value[left], right, left))
        return self._levels[step]

"""How many seconds of a video are lost, and from where on."""

from __future__ import annotations

from collections import deque

from vlar.video.damage import LOOK_BACK
from vlar.video.gaps import GAP_FRAMES
from vlar.video.sequential import Decoded, SequentialReader


class LossCount:
    """Decodes a video to its end and adds up the time that damage costs.

    Attributes:
        lost_s: Seconds during which no frame, or one that may be wrong, stands.
        first_bad_s: Where the first such span starts; None if there is none.
    """

    def __init__(self, reader: SequentialReader) -> None:
        self.lost_s = 0.0
        self.first_bad_s: float | None = None
        self._reader = reader
        # Good spans (start, end, packet) that packets soon after may still prove bad.
        self._recent: deque[tuple[float, float, int]] = deque()
        last: Decoded | None = None
        for decoded in reader.frames():
            self._add(last, decoded)
            last = decoded
        if last is not None and last.suspect:
            self._lose(last.time_s, last.time_s + reader.last_frame_s)
        while self._recent:
            self._settle()

    def _add(self, last: Decoded | None, decoded: Decoded) -> None:
        if last is None:
            if decoded.time_s > 0:
                self._lose(0.0, decoded.time_s)
        elif last.suspect:
            self._lose(last.time_s, decoded.time_s)
        else:
            frame_s = self._reader.frame_s
            long = decoded.time_s > last.time_s + GAP_FRAMES * frame_s
            if long and self._is_broken_gap(last, decoded):
                self._lose(last.time_s + frame_s, decoded.time_s)
            self._recent.append((last.time_s, decoded.time_s, last.order))
            if len(self._recent) > LOOK_BACK:
                self._settle()

    def _is_broken_gap(self, last: Decoded, decoded: Decoded) -> bool:
        broken = decoded.missing_before or decoded.suspect
        return broken or self._reader.is_lost(last, decoded.time_s - 1e-3)

    def _settle(self) -> None:
        """Judge the oldest good span again, now that some packets after it are known."""
        start_s, end_s, order = self._recent.popleft()
        if self._reader.damage and self._reader.account.turned_bad(order):
            self._lose(start_s, end_s)

    def _lose(self, start_s: float, end_s: float) -> None:
        self.lost_s += max(end_s - start_s, 0.0)
        if self.first_bad_s is None or start_s < self.first_bad_s:
            self.first_bad_s = start_s

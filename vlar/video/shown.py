"""The frame on screen at each wanted time out of all frames, judged with what comes after it."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from operator import sub

from vlar.errors import DecodeError
from vlar.types import Float64
from vlar.video.damage import LOOK_BACK
from vlar.video.gaps import GAP_FRAMES
from vlar.video.packets import TIME_SLACK_S, Shown
from vlar.video.sequential import Decoded, SequentialReader

_GAP_LOOK = 2 * LOOK_BACK  # packets around a gap whose damage explains it


class ShownFrames:
    """Chooses among the frames of a reader, which it reads as far as needed.

    Args:
        reader: At the start of its file.
    """

    def __init__(self, reader: SequentialReader) -> None:
        self._reader = reader

    def at(self, wanted_s: Float64) -> Iterator[Shown]:
        """The frame on screen at each of the rising ``wanted_s``.

        Raises:
            DecodeError: not one frame can be decoded.
        """
        waiting: deque[tuple[Shown, int, bool]] = deque()
        for shown, order, in_gap in self._answers(wanted_s.tolist()):
            waiting.append((shown, order, in_gap))
            while waiting and self._is_judged(waiting[0][1], waiting[0][2]):
                yield self._with_hindsight(*waiting.popleft())
        while waiting:
            yield self._with_hindsight(*waiting.popleft())

    def _is_judged(self, order: int, in_gap: bool) -> bool:
        """Whether the packets that would show late that this one was bad have been decoded."""
        look = _GAP_LOOK if in_gap else LOOK_BACK
        return self._reader.end_s is not None or self._reader.account.last_order >= order + look

    def _with_hindsight(self, shown: Shown, order: int, in_gap: bool) -> Shown:
        if shown.lost or not self._reader.damage:
            return shown
        bad = self._reader.account.turned_bad(order)
        bad = bad or (in_gap and self._reader.account.has_bad(order - _GAP_LOOK, order + _GAP_LOOK))
        return replace(shown, lost=True) if bad else shown

    def _answers(self, wanted: list[float]) -> Iterator[tuple[Shown, int, bool]]:
        """The frame on screen at each wanted time, as soon as the next one leaves the decoder.

        With the number of its packet, and whether the time lies in a gap after it.
        """
        given = 0
        last: Decoded | None = None
        for decoded in self._reader.frames():
            while last is not None and given < len(wanted):
                if wanted[given] + TIME_SLACK_S >= decoded.time_s:
                    break
                broken = decoded.missing_before or decoded.suspect
                in_gap = self._is_gap(last, decoded) and (
                    wanted[given] > last.time_s + GAP_FRAMES * self._reader.frame_s
                )
                lost = (broken and in_gap) or self._reader.is_lost(last, wanted[given])
                yield Shown(last.frame, last.time_s, lost), last.order, in_gap
                given += 1
            last = decoded
            if given == len(wanted):
                return
        if last is None:
            raise DecodeError(
                f"{self._reader.path}: no frame can be decoded (0.0 s readable, "
                f"{self._reader.damage} damaged packets); copy or re-encode the file"
            )
        for time in wanted[given:]:
            lost = self._reader.is_lost(last, time) or self._reader.is_missing(time)
            yield Shown(last.frame, last.time_s, lost), last.order, False

    def _is_gap(self, last: Decoded, decoded: Decoded) -> bool:
        """Whether two frames are further apart than frames are here."""
        long_s = decoded.time_s - last.time_s
        if long_s <= GAP_FRAMES * self._reader.frame_s or len(self._reader.packet_times) < 4:
            return False
        # What some containers call the rate is a guess.
        usual = statistics.median(
            map(sub, self._reader.packet_times[1:], self._reader.packet_times)
        )
        return long_s > GAP_FRAMES * usual * self._reader.tick_s

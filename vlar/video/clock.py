"""Presentation times of frames in order, where time stamps start again or are missing."""

from __future__ import annotations

from vlar.video.scan import BACKWARD_S, FORWARD_S


class FrameClock:
    """Turns time stamps into seconds after the first frame that never fall.

    Args:
        tick: Seconds of one unit of a time stamp, as numerator and denominator.
        frame_s: Seconds a frame lasts where no time stamp says otherwise.
        broken: A leap forward in time is damage (``Extent.broken_clock``).
        declared_s: Length that the container states, which no leap passes; None for none.

    Attributes:
        zero: The time stamp of the first frame; None before it.
        shift_s: How far time stamps are moved by now.
        longest_gap_s: The longest span between two frames.
    """

    def __init__(
        self,
        tick: tuple[int, int],
        frame_s: float,
        broken: bool,
        declared_s: float | None = None,
    ) -> None:
        self.zero: int | None = None
        self.shift_s = 0.0
        self.longest_gap_s = 0.0
        self._numerator, self._denominator = tick
        self._frame_s = frame_s
        self._broken = broken
        self._latest_s = float("inf") if declared_s is None else declared_s + BACKWARD_S
        self._clock_s = 0.0
        self._last_s = 0.0
        self._n_frames = 0

    def start_at(self, stamp: int) -> None:
        """Count from ``stamp``, not from the first frame; no effect once a frame has come."""
        if self.zero is None:
            self.zero = stamp

    def time_s(self, stamp: int | None) -> float:
        """The time of the next frame; it follows the last one where its stamp is missing."""
        self._n_frames += 1
        if stamp is not None and (self.zero is None or (self._n_frames == 1 and stamp < self.zero)):
            self.zero, self._clock_s = stamp, 0.0
        if self._n_frames == 1 and self.zero in (None, stamp):
            return 0.0
        if stamp is None or self.zero is None:
            step_s = self._frame_s
            self._clock_s += step_s
        else:
            clock_s = (stamp - self.zero) * self._numerator / self._denominator
            step_s = clock_s - self._clock_s
            too_late = step_s > BACKWARD_S and clock_s + self.shift_s > self._latest_s
            leaps = step_s > FORWARD_S or too_late
            if step_s < -BACKWARD_S or (self._broken and leaps):
                step_s = self._frame_s
                self.shift_s = self._last_s + step_s - clock_s
            self._clock_s = max(clock_s, self._clock_s) if step_s <= 0 else clock_s
        time_s = max(self._clock_s + self.shift_s, self._last_s)
        self.longest_gap_s = max(self.longest_gap_s, time_s - self._last_s)
        self._last_s = time_s
        return time_s

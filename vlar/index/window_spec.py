"""Rule that cuts recordings into windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vlar.types import Sampling, Window


@dataclass(frozen=True)
class WindowSpec:
    """Rule that cuts recordings into rows.

    Attributes:
        window_s: Length of a window in seconds.
        stride_s: Seconds from one window to the next.
        n_frames: T, samples of a window.
        shorter_side: Pixels that frames are shrunk to while decoding; 0 for other sensors.
        long_times: Also windows this many times as long and as far apart; 1 for none.
        fps: Samples a second where T follows the length of a window; None for ``n_frames`` always.
        max_frames: The largest T at ``fps``.
        parts: What encoders that are joined want of a window (``Sampling.parts``).
        all_samples: Whether all samples of a window are read (``Sampling.all_samples``).
        shots: Whether recordings are cut at their shots first, so that no window crosses a cut.
    """

    window_s: float
    stride_s: float
    n_frames: int
    shorter_side: int
    long_times: float = 1.0
    fps: float | None = None
    max_frames: int | None = None
    parts: tuple[Sampling, ...] = ()
    shots: bool = False
    all_samples: bool = False

    @property
    def sampling(self) -> Sampling:
        """Samples that the reader gives for a window."""
        side = self.shorter_side or None
        return Sampling(
            self.n_frames,
            shorter_side=side,
            fps=self.fps,
            max_frames=self.max_frames,
            parts=self.parts,
            all_samples=self.all_samples,
        )

    def spans(self, duration_s: float, shots: Sequence[Window] = ()) -> list[Window]:
        """The windows of a recording, those of the first scale first; none twice.

        Args:
            duration_s: Its length.
            shots: Its shots by time, each of which has windows of its own; empty for one.
        """
        whole = shots or [Window(0.0, duration_s)]
        spans = _windows_of(whole, self.window_s, self.stride_s)
        if self.long_times > 1.0:
            times = self.long_times
            longer = [shot for shot in whole if shot.duration_s > self.window_s]
            spans += _windows_of(longer, times * self.window_s, times * self.stride_s)
        return spans


def _windows_of(shots: Sequence[Window], window_s: float, stride_s: float) -> list[Window]:
    from vlar.video import windows

    return [
        Window(shot.start_s + window.start_s, min(shot.start_s + window.end_s, shot.end_s))
        for shot in shots
        for window in windows(shot.duration_s, window_s, stride_s)
    ]

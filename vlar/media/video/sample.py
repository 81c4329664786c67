"""Windows of a recording, and the times of the frames inside a window."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import overload

import numpy as np

from vlar.errors import UsageError
from vlar.types import Float64, Sampling, Window

_MOST_WINDOWS = 10_000_000
#: T frames of every span, or what an encoder wants of a span.
Wanted = int | Sampling


def frame_times(window: Window, n_frames: int) -> Float64:
    """Midpoints of ``n_frames`` equal segments of a window.

    >>> frame_times(Window(0.0, 4.0), 4).tolist()
    [0.5, 1.5, 2.5, 3.5]

    Args:
        window: The span; it may have no length (a single picture), then all times are its start.
        n_frames: T, at least 1.

    Returns:
        (T,) float64 seconds, rising, inside the window.

    Raises:
        UsageError: ``n_frames`` below 1, or a window that ends before it starts or is not finite.
    """
    if n_frames < 1:
        raise UsageError(f"n_frames is {n_frames}; ask for at least 1 frame")
    require_span(window)
    share = (np.arange(n_frames, dtype=np.float64) + 0.5) / n_frames
    return window.start_s + share * window.duration_s


def sample_times(window: Window, wanted: Wanted) -> Float64:
    """The times (T,) at which a window is sampled, see ``frame_times``.

    >>> sample_times(Window(0.0, 4.0), Sampling(8, fps=0.5, max_frames=16)).tolist()
    [1.0, 3.0]
    >>> sample_times(Window(0.0, 4.0), Sampling(3, parts=(Sampling(1), Sampling(2)))).tolist()
    [1.0, 2.0, 3.0]

    Args:
        window: The span.
        wanted: T, or the sampling of an encoder: T may follow the length of the span. Of several
            parts it is the union of their times, unless another T was put in its place.
    """
    if not isinstance(wanted, Sampling):
        return frame_times(window, wanted)
    require_span(window)
    if window.duration_s and wanted.parts and wanted.n_frames == n_joined(wanted.parts):
        return np.unique(np.concatenate([sample_times(window, part) for part in wanted.parts]))
    return frame_times(window, wanted.frames_in(window.duration_s))


def n_joined(parts: Iterable[Sampling]) -> int:
    """T of the union of several samplings of a span, each with its own ``n_frames``.

    >>> n_joined([Sampling(8), Sampling(32)]), n_joined([Sampling(8), Sampling(24)])
    (40, 24)
    """
    shares = {
        Fraction(2 * i + 1, 2 * part.n_frames) for part in parts for i in range(part.n_frames)
    }
    return len(shares)


@dataclass(frozen=True, eq=False)
class Windows(Sequence[Window]):
    """Windows of one length at even steps, each made when it is asked for.

    Ten million of them in a list take 1.5 GB.

    Attributes:
        duration_s: Length of the recording in seconds.
        window_s: Length of each window.
        stride_s: From one start to the next.
        n_steps: Windows at even steps.
        has_tail: Whether one more ends with the recording.
    """

    duration_s: float
    window_s: float
    stride_s: float
    n_steps: int
    has_tail: bool

    def __len__(self) -> int:
        return self.n_steps + self.has_tail

    @overload
    def __getitem__(self, index: int) -> Window: ...

    @overload
    def __getitem__(self, index: slice) -> list[Window]: ...

    def __getitem__(self, index: int | slice) -> Window | list[Window]:
        places = range(len(self))[index]
        return self._at(places) if isinstance(places, int) else list(map(self._at, places))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def _at(self, place: int) -> Window:
        if place == self.n_steps:
            return Window(self.duration_s - self.window_s, self.duration_s)
        start_s = place * self.stride_s
        return Window(start_s, min(start_s + self.window_s, self.duration_s))


def windows(duration_s: float, window_s: float, stride_s: float) -> Windows:
    """Windows of ``window_s`` every ``stride_s`` that cover a video of ``duration_s``.

    All windows have the same length. Where the last regular window ends before the video does, one
    more is added that ends with the video, so that the tail is covered and no window is a sliver;
    it starts less than one stride after its neighbour. A tail below 1 % of a window is dropped:
    it is rounding, not content. A video no longer than a window gives one window of its own length.
    With a stride beyond the window the spans between windows are left out as asked.

    >>> [(w.start_s, w.end_s) for w in windows(9.0, 4.0, 4.0)]
    [(0.0, 4.0), (4.0, 8.0), (5.0, 9.0)]

    Raises:
        UsageError: a value is not finite, ``window_s`` or ``stride_s`` is not above 0, or
            ``duration_s`` is negative; or they give over 10 million windows.
    """
    for name, value, least in (
        ("duration_s", duration_s, 0.0),
        ("window_s", window_s, math.ulp(0.0)),
        ("stride_s", stride_s, math.ulp(0.0)),
    ):
        if not (math.isfinite(value) and value >= least):
            raise UsageError(f"{name} is {value}; give a finite number of seconds above 0")
    if duration_s <= window_s:
        return Windows(duration_s, duration_s, stride_s, 1, False)
    steps = (duration_s - window_s) / stride_s
    if steps > _MOST_WINDOWS:
        raise UsageError(
            f"stride_s {stride_s:g} cuts {duration_s:g} s too fine; give a longer stride"
        )
    # The sum in float may fall short of a whole number of strides by rounding.
    regular = Windows(duration_s, window_s, stride_s, math.floor(steps + 1e-9) + 1, False)
    return replace(regular, has_tail=duration_s - regular[-1].end_s > 0.01 * window_s)


def require_span(window: Window) -> None:
    """Refuse a window that is not a span of time.

    Raises:
        UsageError: it is not finite, or ends before it starts.
    """
    if not (math.isfinite(window.start_s) and math.isfinite(window.end_s)):
        raise UsageError(f"window {window.start_s} to {window.end_s} s is not finite")
    if window.end_s < window.start_s:
        raise UsageError(
            f"window ends at {window.end_s:g} s, before its start at {window.start_s:g} s"
        )

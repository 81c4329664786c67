"""One look at a short span of a video, several at a long one.

An encoder that follows movements needs frames close together: 32 frames over a minute show none.
Beside a long span as a whole, a few short parts of it are looked at, evenly spread, and the mean of
their vectors stands for it (several clips a video, as in the tests of Wang et al., "Non-local
neural networks", 2018).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from vlar.errors import VlarError
from vlar.types import Clip, Failure, Window
from vlar.video import ClipRequest, probe, read_clip, read_clips, read_windows, windows

_PARTS = 3
_PART_S = 4.0  # seconds, as the windows of a library

Looks = list[Clip]
Span = tuple[Path, Window | None]


@dataclass(frozen=True)
class Looker:
    """Reads what an encoder judges a span of a video by.

    Attributes:
        n_frames: T of each clip.
        shorter_side: Pixels; larger frames are shrunk to it while decoding.
        longest_s: Seconds a span may last to be seen in one clip (``Encoder.longest_s``).
    """

    n_frames: int
    shorter_side: int
    longest_s: float

    def at(self, path: str | Path, window: Window | None = None) -> Looks:
        """The clips of one span, None for the whole video; the first shows all of it.

        Raises:
            DecodeError: the span cannot be read. A part that cannot be read is left out.
        """
        whole = read_clip(path, window, self.n_frames, shorter_side=self.shorter_side)
        parts = self._parts(whole.window)
        clips = read_windows(path, parts, self.n_frames, shorter_side=self.shorter_side)
        return [whole, *(clip for clip in clips if isinstance(clip, Clip))]

    def each(self, spans: Iterable[Span]) -> Iterator[Looks | Failure]:
        """The clips of many spans as ``at`` gives them, decoded ahead in threads.

        A span that cannot be read is a ``Failure`` in its place.
        """
        sizes: deque[int] = deque()

        def requests() -> Iterator[ClipRequest]:
            for path, window in spans:
                views = [window, *self._parts(window or self._length(path))]
                sizes.append(len(views))
                yield from (ClipRequest(path, view, self.n_frames) for view in views)

        clips = read_clips(requests(), shorter_side=self.shorter_side)
        for whole in clips:
            parts = list(islice(clips, sizes.popleft() - 1))
            good = [part for part in parts if isinstance(part, Clip)]
            yield whole if isinstance(whole, Failure) else [whole, *good]

    def every(self, videos: Iterable[Path], every_s: float) -> Iterator[Looks | Failure]:
        """The clips of every ``every_s`` seconds of videos, as ``each``."""
        for video in videos:
            try:
                spans = windows(probe(video).duration_s, every_s, every_s)
            except VlarError as error:
                yield Failure(video, error.kind, error.message)
                continue
            if every_s > self.longest_s:
                yield from self.each((video, span) for span in spans)
                continue
            # One pass over the file, where each would seek.
            clips = read_windows(video, spans, self.n_frames, shorter_side=self.shorter_side)
            yield from (clip if isinstance(clip, Failure) else [clip] for clip in clips)

    def _length(self, path: Path) -> Window:
        if np.isinf(self.longest_s):
            return Window(0.0, 0.0)
        try:
            return Window(0.0, probe(path).duration_s)
        except VlarError:  # reading it will say what is wrong
            return Window(0.0, 0.0)

    def _parts(self, window: Window) -> list[Window]:
        if window.duration_s <= self.longest_s:
            return []
        starts = np.linspace(window.start_s, window.end_s - _PART_S, _PARTS)
        return [Window(float(start), float(start) + _PART_S) for start in starts]

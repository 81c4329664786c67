"""The views of a span: one clip of a short span, several of a long one.

An encoder that follows movements needs samples close together: 32 frames over a minute show none.
A long span is therefore read as a whole and in a few short parts, evenly spread, and the mean of
their vectors stands for it (several clips a video, as in the tests of Wang et al., "Non-local
neural networks", 2018).

A span with cuts can be read shot by shot instead (``ViewSampler.shot_by_shot``), so that no
movement is followed across a cut. The mean of the shots' vectors then stands for it.

Pictures without content (a black lead-in, a fade) do not count: where the samples of a span begin
or end with such, the span is read between them, and parts that hold nothing else are left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlar.errors import DecodeError, VlarError
from vlar.media.base import Reader, Request, read_recorded
from vlar.media.lookup import isolated
from vlar.media.shots import require_shots, shots_or_none, within
from vlar.media.video.sample import windows
from vlar.types import Clip, Failure, Sampling, Window

_PARTS = 3
_PART_S = 4.0  # seconds, as the windows of a library
_BLANK = 4.0  # standard deviation in grey levels, below what compression leaves of any scene
_EVERY_PIXEL = 8
_FEWEST_SAMPLES = 4
_FEWEST_BLANK = 2  # samples; one may be a fade
_MOST_SHOTS = 8  # of a span; the longest

Views = list[Clip]


@dataclass(frozen=True)
class ViewSampler:
    """Reads the clips that an encoder judges a span by.

    Attributes:
        reader: Reader of the encoder's sensor.
        sampling: What the encoder wants; a span beyond ``longest_s`` has several views.
        by_shots: Whether a span with cuts is read shot by shot; the longest shot comes first.
        most_shots: Shots of a span that are read; the longest are.
    """

    reader: Reader
    sampling: Sampling
    by_shots: bool = False
    most_shots: int = _MOST_SHOTS

    @property
    def one_view(self) -> ViewSampler:
        """The same with one view a span, however long it is."""
        one = replace(self.sampling, longest_s=float("inf"))
        return replace(self, sampling=one, most_shots=1)

    @property
    def shot_by_shot(self) -> ViewSampler:
        """The same, with spans cut at the shots of their recording.

        Raises:
            ModelError: the network that finds them is not installed.
            UsageError: recordings of this sensor have no shots.
        """
        require_shots(self.reader)
        return replace(self, by_shots=True)

    def sample(self, path: str | Path, window: Window | None = None) -> Views:
        """The views of one span, None for the whole recording; the first shows all of it.

        Raises:
            DecodeError: the span cannot be read. A part that cannot be read is left out.
        """
        path = Path(path)
        if shots := self._shots(path, window):
            clips = self.reader.read(((path, shot) for shot in shots), self.sampling)
            return _as_span(window or self._all(path), list(clips))
        whole = self.reader.read_clip(path, window, self.sampling)
        parts = self.parts(whole.window)
        clips = self.reader.read_windows(path, parts, self.sampling) if parts else ()
        return self._with_content([whole, *(clip for clip in clips if isinstance(clip, Clip))])

    def _with_content(self, views: Views) -> Views:
        """Views without blank pictures at their ends; the first still states its whole span."""
        first, *parts = views
        inner = content_span(first)
        if inner is not None:
            again = next(iter(self.reader.read([(first.path, inner)], self.sampling)))
            if isinstance(again, Clip):
                first = replace(again, window=first.window)
        return [first, *(part for part in parts if not is_blank(part))]

    def sample_each(self, spans: Iterable[Request]) -> Iterator[Views | Failure]:
        """The views of many spans as ``sample`` gives them, read ahead in threads.

        A span that cannot be read is a ``Failure`` in its place.
        """
        with isolated(self.reader, spans, _path_of) as (source, all_spans):
            yield from replace(self, reader=source)._each(all_spans)

    def _each(self, spans: Iterable[Request]) -> Iterator[Views | Failure]:
        waiting: deque[tuple[int, Window | None]] = deque()  # views, and the span if it has cuts

        def requests() -> Iterator[Request]:
            for path, window in spans:
                shots = self._shots(path, window)
                views = shots or [window, *self.parts(window or self.whole(path))]
                waiting.append((len(views), (window or self._all(path)) if shots else None))
                yield from ((path, view) for view in views)

        clips = self.reader.read(requests(), self.sampling)
        for first in clips:
            count, span = waiting.popleft()
            views = [first, *islice(clips, count - 1)]
            good = [view for view in views if isinstance(view, Clip)]
            if isinstance(first, Failure) and (span is None or not good):
                yield first
            else:
                yield self._with_content(good) if span is None else _as_span(span, good)

    def _shots(self, path: Path, window: Window | None) -> list[Window]:
        """The shots of a span, the longest first; none where it has no cut."""
        if not self.by_shots:
            return []
        shots = shots_or_none(self.reader, path)
        parts = shots if window is None else within(window, shots)
        if len(parts) < 2:
            return []
        return sorted(parts, key=lambda part: -part.duration_s)[: self.most_shots]

    def _all(self, path: Path) -> Window:
        return Window(0.0, self.reader.probe(path).duration_s)

    def sample_every(self, recordings: Iterable[Path], every_s: float) -> Iterator[Views | Failure]:
        """The views of every ``every_s`` seconds of recordings, as ``sample_each``."""
        with isolated(self.reader, recordings, Path) as (source, all_recordings):
            yield from replace(self, reader=source)._every(all_recordings, every_s)

    def _every(self, recordings: Iterable[Path], every_s: float) -> Iterator[Views | Failure]:
        for recording in recordings:
            try:
                spans = windows(self.reader.probe(recording).duration_s, every_s, every_s)
            except VlarError as error:
                yield Failure(recording, error.kind, error.message)
                continue
            if self.by_shots or every_s > self.sampling.longest_s:
                yield from self._each((recording, span) for span in spans)
                continue
            # One pass over the file, where each would seek.
            clips = read_recorded(self.reader, recording, spans, self.sampling)
            yield from (clip if isinstance(clip, Failure) else [clip] for clip in clips)

    def whole(self, path: Path) -> Window:
        """The span of a recording where its length decides on its views, else an empty one."""
        if np.isinf(self.sampling.longest_s):
            return Window(0.0, 0.0)
        try:
            return Window(0.0, self.reader.probe(path).duration_s)
        except VlarError:  # reading it raises the same, where the caller expects it
            return Window(0.0, 0.0)

    def parts(self, window: Window) -> list[Window]:
        """The short parts of a span that are read besides the whole; none of a short span."""
        if window.duration_s <= self.sampling.longest_s:
            return []
        starts = np.linspace(window.start_s, window.end_s - _PART_S, _PARTS)
        return [Window(float(start), float(start) + _PART_S) for start in starts]


def content_span(clip: Clip) -> Window | None:
    """The span of a video clip between blank pictures at its ends; None where it has none there.

    A picture is blank where its pixels hardly differ: black, white, or one colour.

    Args:
        clip: Clip of any sensor; others than video have no pictures.
    """
    shown = _shown(clip)
    if shown is None or shown.all() or not shown.any():
        return None
    first, last = np.flatnonzero(shown)[[0, -1]]
    if last - first + 1 > len(shown) - _FEWEST_BLANK:
        return None
    half_s = (clip.times_s[-1] - clip.times_s[0]) / (len(shown) - 1) / 2
    begin_s = clip.times_s[first] - half_s if first else clip.window.start_s
    end_s = clip.times_s[last] + half_s if last < len(shown) - 1 else clip.window.end_s
    return Window(max(float(begin_s), clip.window.start_s), min(float(end_s), clip.window.end_s))


def is_blank(clip: Clip) -> bool:
    """Return whether a clip is a video without a picture that shows anything."""
    shown = _shown(clip)
    return shown is not None and not shown.any()


def _shown(clip: Clip) -> npt.NDArray[np.bool_] | None:
    """(T,) True for pictures with content; None for other clips, and for single pictures."""
    if clip.modality != "video" or len(clip.data) < _FEWEST_SAMPLES:
        return None
    small = clip.data[:, ::_EVERY_PIXEL, ::_EVERY_PIXEL].reshape(len(clip.data), -1)
    return small.std(axis=1) >= _BLANK


def _as_span(span: Window, clips: Sequence[Clip | Failure]) -> Views:
    """The clips of shots as the views of a span; an answer states the window of the first.

    Raises:
        DecodeError: none of them could be read.
    """
    views = [clip for clip in clips if isinstance(clip, Clip)]
    if not views:
        raise DecodeError(next(clip.message for clip in clips if isinstance(clip, Failure)))
    return [replace(views[0], window=span), *views[1:]]


def _path_of(request: Request) -> Path:
    return request[0]

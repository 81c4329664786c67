"""Interface of a reader: recordings of one sensor in, clips with times out."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from vlar.errors import DecodeError, UsageError, VlarError
from vlar.files.workers.ahead import in_order
from vlar.media.video.files import is_folder
from vlar.types import Clip, Failure, Sampling, Window

if TYPE_CHECKING:
    from vlar.media.video.sequential import FrameChunk

_FRAMES = 8
_PIECE = 50_000  # windows that a reader is asked for at a time: a day of them
_log = logging.getLogger("vlar")
Request = tuple[Path, Window | None]
"""A recording and the span to read; None is the whole recording."""


class RecordingInfo(Protocol):
    """Facts from a probe; a reader may give more (``vlar.types.VideoInfo``)."""

    @property
    def path(self) -> Path:
        """The recording."""
        ...

    @property
    def duration_s(self) -> float:
        """Length in seconds, from the first sample to the end of the last."""
        ...


@dataclass(frozen=True)
class Recording:
    """``RecordingInfo`` without further facts: path, and length in seconds."""

    path: Path
    duration_s: float


class Reader(ABC):
    """Reads the recordings of one sensor. Registered as ``@register("reader", MODALITY)``.

    A reader holds no state: one object serves every recording and every thread. Times are computed
    before anything is decoded, so a whole recording is never held in memory. ``probe`` and
    ``read_clip`` raise errors; ``read`` and ``read_windows`` give them as values, so that one
    broken file does not end a batch.

    Attributes:
        modality: The name of the sensor, as registered: ``Clip.modality``, ``Encoder.modality``.
        endings: File endings (lower case, with the dot) by which folders are searched.
        gives_all: Whether it gives all samples of a window to an encoder that asks for them
            (``Sampling.all_samples``): recordings of events, of points, of signals at their rate.
        has_gaps: Whether NaN marks what was not measured, such as joints out of the picture.
        isolate: Reading runs native decoders, which a damaged file can crash: batches are read in
            worker processes (``vlar.media.lookup``). They make the reader without arguments.
    """

    modality: ClassVar[str]
    endings: ClassVar[frozenset[str]] = frozenset()
    gives_all: ClassVar[bool] = False
    has_gaps: ClassVar[bool] = False
    isolate: ClassVar[bool] = False

    @abstractmethod
    def probe(self, path: Path) -> RecordingInfo:
        """Facts of a recording, without decoding it.

        Raises:
            DecodeError: it cannot be read.
        """

    @abstractmethod
    def read_clip(self, path: Path, window: Window | None, sampling: Sampling) -> Clip:
        """Read one clip.

        Args:
            path: The recording.
            window: The span, in seconds after the first sample; None is the whole recording.
            sampling: How many samples, and how large.

        Returns:
            The clip; ``window`` is the span that was read. With ``all_samples`` of a reader that
            ``gives_all`` it holds each sample of ``window.start_s <= t < window.end_s`` once, be
            there none.

        Raises:
            DecodeError: it cannot be read, or the window lies past its end.
        """

    def span(self, path: Path, window: Window | None, duration_s: float) -> Window:
        """The window to read; the whole recording where none is asked for.

        Args:
            path: The recording, for the message.
            window: As for ``read_clip``.
            duration_s: Length of the recording in seconds.

        Raises:
            DecodeError: it lies past the end.
        """
        if window is not None and window.start_s >= duration_s:
            raise DecodeError(f"{path}: the window lies past the end ({duration_s:g} s)")
        return window or Window(0.0, duration_s)

    def claims(self, path: Path) -> bool:
        """Return whether a path looks like a recording of this sensor. It need not exist."""
        return path.suffix.lower() in self.endings

    def read(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Clip | Failure]:
        """Read clips in the order of the requests, ahead of the caller, in threads.

        Args:
            requests: Recordings and spans; drawn from only as they are needed.
            sampling: As for ``read_clip``.

        Yields:
            A clip for each request, or a Failure with the kind and message of its error.
        """
        return in_order(iter(requests), lambda request: self._read_one(request, sampling))

    def read_windows(
        self, path: Path, windows: Sequence[Window], sampling: Sampling
    ) -> Iterator[Clip | Failure]:
        """Read many windows of one recording, in the order given.

        Readers of compressed recordings do it in one pass; the default reads window by window.
        """
        return self.read(((path, window) for window in windows), sampling)

    def read_frames(self, path: Path, height: int, width: int) -> Iterator[FrameChunk]:
        """Every frame of a recording of pictures, small, in the order of time.

        Raises:
            UsageError: recordings of this sensor hold no pictures.
            DecodeError: it cannot be read.
        """
        raise UsageError(f"recordings of the sensor {self.modality!r} have no frames, and no shots")

    def gaps(self, path: Path) -> Sequence[Window]:
        """Long stretches of a recording in which nothing was recorded, in the order of time.

        Windows inside them are skipped (``recorded``).
        """
        return ()

    def person(self, path: Path) -> str | None:
        """Recorded person, by the file names of this sensor's data sets; None where unknown.

        Learning holds the examples of one person out together: a person resembles themselves.
        """
        return None

    def every_sample(self, path: Path, window: Window | None) -> Sampling:
        """Sampling of ``vlar.read_clip`` where no number of samples is given."""
        return Sampling(_FRAMES, all_samples=self.gives_all)

    def find(self, paths: Sequence[str | Path]) -> list[Path]:
        """The recordings that ``paths`` name, in the order given, each once.

        A file is taken as given, whatever its ending. A folder is searched in sorted order for
        recordings that ``claims`` accepts; hidden entries and links to folders are skipped.
        """
        return find_claimed(paths, self.claims)

    def blank(self, sampling: Sampling) -> list[Clip]:
        """Clips that show nothing: blank frames, a still body, silence.

        The scorer compares recordings with them to answer ``unknown``. No clip, the default,
        switches that check off.
        """
        return []

    def example(self, folder: Path) -> Path:
        """Write a short synthetic recording of a second or more, which ``vlar.testing`` reads.

        What it shows changes with time: an encoder must tell its parts from each other.
        Without it the checks of the reader and of its encoders need a recording
        (``check_reader(part, recording=PATH)``).

        Args:
            folder: An empty folder.

        Returns:
            Path of the recording, a file that ``claims`` accepts.
        """
        raise NotImplementedError(f"reader {self.modality!r} offers no example recording")

    def _read_one(self, request: Request, sampling: Sampling) -> Clip | Failure:
        path, window = request
        try:
            return self.read_clip(path, window, sampling)
        except VlarError as error:
            return Failure(path, error.kind, error.message)


def recorded(source: Reader, path: Path, windows: Iterable[Window]) -> Iterator[Window]:
    """The windows of a recording that are not empty as a whole; a line states what is skipped."""
    windows = iter(windows)
    first = list(islice(windows, 2))
    gaps = source.gaps(path) if len(first) > 1 else ()
    starts, ends = ([getattr(gap, end) for gap in gaps] for end in ("start_s", "end_s"))
    skipped = 0
    for window in chain(first, windows):
        number = bisect_right(starts, window.start_s) - 1
        if number < 0 or ends[number] < window.end_s:
            yield window
            continue
        if not skipped:
            empty_s = sum(gap.duration_s for gap in gaps)
            _log.info("%s: nothing was recorded in %.0f s of it, which are skipped", path, empty_s)
        skipped += 1


def read_recorded(
    source: Reader, path: Path, windows: Iterable[Window], sampling: Sampling
) -> Iterator[Clip | Failure]:
    """Clips of the windows of a recording that are not empty (``recorded``).

    Windows are drawn some ten thousand at a time: those of weeks are never a list.
    """
    spans = recorded(source, path, windows)
    while piece := list(islice(spans, _PIECE)):
        yield from source.read_windows(path, piece, sampling)


def find_claimed(paths: Sequence[str | Path], claims: Callable[[Path], bool]) -> list[Path]:
    """``Reader.find`` with any rule for what a recording is."""
    files: dict[Path, None] = {}
    for listed_path in paths:
        path = Path(listed_path)
        whole = not is_folder(path) or claims(path)
        for recording in [path] if whole else _walk(path, claims):
            files.setdefault(recording)
    return list(files)


def _walk(folder: Path, claims: Callable[[Path], bool]) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # an unreadable folder holds no readable recording
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if claims(path):
            yield path
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(path, claims)

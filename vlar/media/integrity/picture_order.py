"""Length of a file, and the gaps in its times where pictures may be missing.

A gap in otherwise even times has two causes: a recorder left out frames before they were coded, or
coded frames were lost. ``vlar.plugins.integrity.h264`` tests which, by the numbers of pictures.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from av.logging import Capture
from av.packet import Packet
from av.video.stream import VideoStream

from vlar.errors import DecodeError
from vlar.media.video.container import OpenVideo, is_damage
from vlar.registry import optional_shelf

SILENT_CODECS = frozenset(
    {"vp8", "vp9", "libvpx-vp9", "mjpeg", "mpeg4", "prores", "wmv1", "wmv2", "msmpeg4v3"}
)
"""Their frames carry no numbers: where some are missing, the time stamps alone show it."""
NUMBERED_CODEC = "h264"
"""A gap in its times is damage where numbers of pictures are missing too."""

GAP_FRAMES = 1.5
"""A span between two frames of more than this many is a gap."""
_LEAST_FRAMES = 16
_MOST_GAPS_SHARE = 0.04
_LONGEST_GAP_FRAMES = 30
_UNEVEN = 0.05


class MissingPictures(NamedTuple):
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
    """Return whether the step after ``stamps[at]`` (rising) is a gap without gaps nearby."""
    if at + 1 >= len(stamps):
        return False
    near = np.diff(np.asarray(stamps[max(at - 32, 0) : at + 32], np.int64))
    frame = float(np.median(near))
    gaps = int(np.count_nonzero(near > GAP_FRAMES * frame))
    return stamps[at + 1] - stamps[at] > GAP_FRAMES * frame and gaps <= 2


class GapDetector:
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
        """Return whether frames are missing before ``stamps[at]`` (rising) that others may need."""
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


# Up to this size a file is read through to learn its true length: milliseconds.
_SCAN_BYTES = 64 << 20
_KEEP_BYTES = 16 << 20
_KEEP_PACKETS = 4096
_LONG_S = 3600.0
_SHORT_BY_S = 0.5
_SHORT_BY_FRAMES = 3.0
BACKWARD_S = 1.0
"""A fall of the time stamps by more than this shows that the clock started again or is damaged."""
FORWARD_S = 10.0
"""In a file with such a fall, a rise by more than this is damage too."""


@dataclass(frozen=True)
class FileExtent:
    """Length of a file.

    Attributes:
        duration_s: From the first picture to the end of the last.
        n_frames: Pictures counted, or the count of the container; None if neither is known.
        broken_clock: Time stamps fall on the way or packets are damaged, so that a leap in time
            cannot be trusted.
        packets: All packets in decoding order, if asked for and few.
        holes: Missing frames that only times or numbers can reveal.
    """

    duration_s: float
    n_frames: int | None
    broken_clock: bool = False
    packets: tuple[Packet[VideoStream], ...] | None = None
    holes: tuple[MissingPictures, ...] = ()


def is_silent(video: OpenVideo) -> bool:
    """Return whether only time stamps reveal missing frames, and the file is small enough to scan.

    The times of AVI are counted, so a gap in them proves nothing.
    """
    name = video.stream.codec_context.name
    small = video.path.stat().st_size <= _KEEP_BYTES
    return small and name in SILENT_CODECS and not video.has_only_decoding_times


def is_numbered(video: OpenVideo) -> bool:
    """Return whether a gap in time stamps is damage where pictures are missing by number, too."""
    context = video.stream.codec_context
    small = video.path.stat().st_size <= _KEEP_BYTES
    ordered = not (video.has_only_decoding_times and context.has_b_frames)
    return small and context.name == NUMBERED_CODEC and ordered


def short_by_s(video: OpenVideo) -> float:
    """Tolerated shortfall of an undamaged video: rounding, and the length of the last frame."""
    return min(_SHORT_BY_S, _SHORT_BY_FRAMES / video.fps)


def extent(video: OpenVideo, *, keep: bool = False, whole: bool = False) -> FileExtent:
    """Length of an open file. A small one (any, if ``whole``) is read to its end.

    The packets give the length. Where the container declares more, and not all packets it counts
    are there, the file is cut short and its declared length is returned.

    Raises:
        DecodeError: over an hour at less than a byte a second. A few bytes must not make hours of
            windows; the least that real videos have is some ten bytes a second.
    """
    span = _extent(video, keep, whole)
    size = video.path.stat().st_size
    if span.duration_s > max(_LONG_S, size):
        raise DecodeError(
            f"{video.path}: {size} bytes claim to last {span.duration_s / 3600:.1f} hours; "
            "its times are damaged: re-encode the file"
        )
    return span


def _extent(video: OpenVideo, keep: bool, whole: bool) -> FileExtent:
    declared = video.declared_s
    if declared is not None and not whole and video.path.stat().st_size > _SCAN_BYTES:
        return FileExtent(declared, video.stream.frames or None)
    scan = _Scan(video, keep)
    try:
        with Capture() as video.errors.pending:
            for packet in video.packets():
                scan.add(packet)
    except Exception as error:
        if not is_damage(error):
            raise
        scan.whole = False
    scan.whole = scan.whole and not video.errors.count
    return scan.extent(declared)


class _Scan:
    def __init__(self, video: OpenVideo, keep: bool) -> None:
        self.whole = True
        numerator, denominator = video.seconds_a_tick
        self._tick_s = numerator / denominator
        self._video = video
        self._total = 0
        self._shown = 0
        self._kept: list[Packet[VideoStream]] | None = [] if keep else None
        self._bytes = 0
        self._untimed = False
        self._broken = False
        self._first: int | None = None
        self._last = 0
        self._end = 0
        self._longest_gap = 0
        self._clock: int | None = None
        self._plausible_s = 0.0
        self._numbered = is_numbered(video)
        self._stamps: list[int] | None = [] if self._numbered or is_silent(video) else None
        self._by_dts = video.has_only_decoding_times

    def add(self, packet: Packet[VideoStream]) -> None:
        self._total += 1
        self._bytes += packet.size
        if self._kept is not None:
            self._kept.append(packet)
            if self._bytes > _KEEP_BYTES or self._total > _KEEP_PACKETS:
                self._kept = None
        self.whole = self.whole and not packet.is_corrupt
        self._tell_time(packet.dts if packet.dts is not None else packet.pts)
        if packet.is_discard:
            return
        self._shown += 1
        pts = packet.pts
        stamp = packet.dts if self._by_dts else pts
        if self._stamps is not None and stamp is not None:
            self._stamps.append(stamp)
        if pts is None:
            self._untimed = True
            return
        if self._first is None:
            self._first = self._last = self._end = pts
        self._first = min(self._first, pts)
        self._longest_gap = max(self._longest_gap, pts - self._last)
        if pts >= self._last:
            self._last, self._end = pts, pts + (packet.duration or 0)

    def _tell_time(self, clock: int | None) -> None:
        if clock is None:
            return
        if self._clock is not None:
            step_s = (clock - self._clock) * self._tick_s
            self._broken = self._broken or step_s < -BACKWARD_S
            plausible = 0 <= step_s <= FORWARD_S
            self._plausible_s += step_s if plausible else 1 / self._video.fps
        self._clock = clock

    def extent(self, declared: float | None) -> FileExtent:
        measured = self._measured_s()
        duration_s = measured
        counted = self._video.stream.frames
        all_came = self.whole and self._total >= counted > 0
        if declared is not None and not self._broken and not all_came:
            short_s = declared - (measured or 0.0)
            explained_s = 2 * self._longest_gap * self._tick_s if self.whole else 0.0
            damaged = not self.whole and short_s < 0
            if short_s > max(short_by_s(self._video), explained_s) or measured is None or damaged:
                duration_s = declared
        stamps = tuple(self._kept) if self._kept is not None and self.whole else None
        return FileExtent(
            duration_s or 1 / self._video.fps,
            self._shown or None,
            self._broken or not self.whole,
            stamps,
            self._holes(),
        )

    def _holes(self) -> tuple[MissingPictures, ...]:
        gaps = holes(self._stamps or (), even=not self._numbered)
        if not self._numbered or not gaps:
            return tuple(MissingPictures(stamp) for stamp in gaps)
        numbers = optional_shelf("plugins.integrity.h264")
        return numbers.lost_pictures(self._video.path, gaps, self._by_dts) if numbers else ()

    def _measured_s(self) -> float | None:
        if not self._shown:
            return None
        frame_s = 1 / self._video.fps
        if self._broken:
            return self._plausible_s + frame_s
        if self._untimed or self._first is None:
            return self._shown * frame_s
        if self._end > self._last:
            return (self._end - self._first) * self._tick_s
        return (self._last - self._first) * self._tick_s + frame_s

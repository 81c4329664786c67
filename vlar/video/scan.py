"""Walking over all packets of a file, without decoding: how long it is, whether its clock holds."""

from __future__ import annotations

from dataclasses import dataclass

from av.logging import Capture
from av.packet import Packet
from av.video.stream import VideoStream

from vlar.errors import DecodeError
from vlar.video.container import Opened, is_damage
from vlar.video.gaps import NUMBERED_CODEC, SILENT_CODECS, Hole, holes
from vlar.video.picture_order import lost_pictures

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
class Extent:
    """How long a file is.

    Attributes:
        duration_s: From the first picture to the end of the last.
        n_frames: Pictures counted, or what the container says; None if neither is known.
        broken_clock: Time stamps fall on the way or packets are damaged, so that a leap in time
            cannot be trusted.
        packets: All packets in decoding order, if asked for and few.
        holes: Where frames are missing and only their times or numbers can show it.
    """

    duration_s: float
    n_frames: int | None
    broken_clock: bool = False
    packets: tuple[Packet[VideoStream], ...] | None = None
    holes: tuple[Hole, ...] = ()


def is_silent(video: Opened) -> bool:
    """Whether only time stamps show that frames are missing, and a file is small enough to look.

    The times of AVI are counted, so a gap in them says nothing.
    """
    name = video.stream.codec_context.name
    small = video.path.stat().st_size <= _KEEP_BYTES
    return small and name in SILENT_CODECS and not video.has_only_decoding_times


def is_numbered(video: Opened) -> bool:
    """Whether a gap in time stamps is damage where pictures lack by number, too."""
    context = video.stream.codec_context
    small = video.path.stat().st_size <= _KEEP_BYTES
    ordered = not (video.has_only_decoding_times and context.has_b_frames)
    return small and context.name == NUMBERED_CODEC and ordered


def short_by_s(video: Opened) -> float:
    """How much shorter than declared a whole video may be: rounding, the last frame's length."""
    return min(_SHORT_BY_S, _SHORT_BY_FRAMES / video.fps)


def extent(video: Opened, *, keep: bool = False, whole: bool = False) -> Extent:
    """Length of an open file. A small one (any, if ``whole``) is read to its end.

    The length is what the packets say. Where the container declares more, and not all packets it
    counts are there, the file is cut short and its declared length is returned.

    Raises:
        DecodeError: over an hour at less than a byte a second. A few bytes must not make hours of
            windows; the least that real videos have is some ten bytes a second.
    """
    found = _extent(video, keep, whole)
    size = video.path.stat().st_size
    if found.duration_s > max(_LONG_S, size):
        raise DecodeError(
            f"{video.path}: {size} bytes claim to last {found.duration_s / 3600:.1f} hours; its "
            "times are damaged: re-encode the file"
        )
    return found


def _extent(video: Opened, keep: bool, whole: bool) -> Extent:
    declared = video.declared_s
    if declared is not None and not whole and video.path.stat().st_size > _SCAN_BYTES:
        return Extent(declared, video.stream.frames or None)
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
    def __init__(self, video: Opened, keep: bool) -> None:
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

    def extent(self, declared: float | None) -> Extent:
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
        kept = tuple(self._kept) if self._kept is not None and self.whole else None
        return Extent(
            duration_s or 1 / self._video.fps,
            self._shown or None,
            self._broken or not self.whole,
            kept,
            self._holes(),
        )

    def _holes(self) -> tuple[Hole, ...]:
        found = holes(self._stamps or (), even=not self._numbered)
        if self._numbered and found:
            return lost_pictures(self._video.path, found, self._by_dts)
        return tuple(Hole(stamp) for stamp in found)

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

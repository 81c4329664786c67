"""One face for files and frame folders: pictures at rising times, and how long it all is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av.packet import Packet
from av.video.stream import VideoStream

from vlar.errors import DecodeError
from vlar.types import Float64, UInt8
from vlar.video.container import Deadline, Opened, opened
from vlar.video.folder import FolderReader
from vlar.video.packets import (
    FAST_CODECS,
    SEEKABLE_FORMATS,
    PacketReader,
    Shown,
    Unordered,
)
from vlar.video.pixels import Converter
from vlar.video.sequential import SequentialReader

# Up to this size a file is read through to learn its true length: milliseconds.
_SCAN_BYTES = 64 << 20
_KEEP_BYTES = 16 << 20
_KEEP_PACKETS = 4096
_SHORT_BY_S = 0.5


@dataclass(frozen=True)
class Picture:
    """The picture on screen at a wanted time. ``lost``: another stands in for it."""

    time_s: float
    pixels: UInt8
    lost: bool


@dataclass(frozen=True)
class Extent:
    """How long a file is, how many pictures it holds if counted, and its packets if few."""

    duration_s: float
    n_frames: int | None
    packets: list[Packet[VideoStream]] | None


def extent(video: Opened, keep: bool = False) -> Extent:
    """Length of an open file. Reads a small one to its end (not decoding), so reopen it after.

    The length is what the packets say. Where the container declares more, and not all packets it
    counts are there, the file is cut short and its declared length is returned.
    """
    declared = video.declared_s
    if declared is not None and video.path.stat().st_size > _SCAN_BYTES:
        return Extent(declared, video.stream.frames or None, None)
    scan = _Scan(keep)
    try:
        for packet in video.packets():
            scan.add(packet)
    except (av.FFmpegError, OSError):
        scan.whole = False
    measured = scan.duration_s(video)
    n_frames = scan.shown or None
    counted = video.stream.frames
    if declared is not None and (
        measured is None
        or (declared - measured > _SHORT_BY_S and not (scan.whole and scan.total >= counted > 0))
    ):
        if measured is not None and scan.whole and declared - measured <= 2 * scan.longest_gap_s():
            declared = measured
        return Extent(declared, n_frames, scan.kept)
    return Extent(measured or 1 / video.fps, n_frames, scan.kept)


class _Scan:
    """The account of a walk over all packets."""

    def __init__(self, keep: bool) -> None:
        self.whole = True
        self.total = 0
        self.shown = 0
        self.kept: list[Packet[VideoStream]] | None = [] if keep else None
        self._bytes = 0
        self._timed = True
        self._first: int | None = None
        self._last = 0
        self._end = 0
        self._highest: int | None = None
        self._gap = 0

    def add(self, packet: Packet[VideoStream]) -> None:
        self.total += 1
        self._bytes += packet.size
        if self.kept is not None:
            self.kept.append(packet)
            if self._bytes > _KEEP_BYTES or self.total > _KEEP_PACKETS:
                self.kept = None
        self.whole = self.whole and not packet.is_corrupt
        if packet.is_discard:
            return
        self.shown += 1
        pts = packet.pts
        if pts is None:
            self._timed = False
            return
        if self._highest is not None:
            self._gap = max(self._gap, pts - self._highest)
        self._highest = pts if self._highest is None else max(self._highest, pts)
        self._first = pts if self._first is None else min(self._first, pts)
        self._last = max(self._last, pts)
        self._end = max(self._end, pts + (packet.duration or 0))
        self._tick_s = 0.0

    def duration_s(self, video: Opened) -> float | None:
        """Seconds from the first picture to the end of the last; None if nothing is timed."""
        numerator, denominator = video.seconds_a_tick
        self._tick_s = numerator / denominator
        if not self.shown:
            return None
        if not self._timed or self._first is None:
            return self.shown / video.fps
        if self._end > self._last:
            return (self._end - self._first) * numerator / denominator
        return (self._last - self._first) * numerator / denominator + 1 / video.fps

    def longest_gap_s(self) -> float:
        return self._gap * self._tick_s


class Source:
    """A video to take pictures from.

    Args:
        path: A file, or a folder of numbered pictures.
        timeout_s: Limit for each result; the caller restarts ``deadline``.
        shorter_side: Larger pictures are shrunk to this.
        fps: Rate of a frame folder.
    """

    def __init__(
        self, path: Path, timeout_s: float, shorter_side: int | None, fps: float | None
    ) -> None:
        self.path = path
        self.deadline = Deadline(path, timeout_s)
        self.end_s: float | None = None
        self.readable_s: float | None = None
        self._timeout_s = timeout_s
        self._shorter_side = shorter_side
        self._packets: list[Packet[VideoStream]] | None = None
        self._total_s: float | None = None
        self._folder: FolderReader | None = None
        if path.is_dir():
            self._folder = FolderReader(path, fps, shorter_side, self.deadline)
            self.end_s = self._folder.duration_s

    def duration_s(self) -> float:
        """Seconds from the first picture to the end of the last."""
        if self._folder is not None:
            return self._folder.duration_s
        with opened(self.path, self._timeout_s) as video:
            self._total_s = extent(video).duration_s
        return self._total_s

    def readable(self) -> str:
        """How much could be read, in words."""
        read = self.readable_s if self.readable_s is not None else self.end_s
        total = self._total_s
        if total is None:
            return f"{read or 0.0:.1f} s"
        return f"{min(read or 0.0, total):.1f} s of {total:.1f} s"

    def pictures(self, wanted_s: Float64) -> Iterator[Picture]:
        """The picture on screen at each of the rising ``wanted_s``.

        Raises:
            DecodeError: nothing can be decoded.
            DecodeTimeout: a result takes longer than the limit.
        """
        if self._folder is not None:
            for time_s, pixels, lost in self._folder.shown(wanted_s):
                yield Picture(time_s, pixels, lost)
            return
        convert = Converter(self._shorter_side)
        last: tuple[object, UInt8] | None = None
        for shown in self._shown(wanted_s):
            if last is None or last[0] is not shown.frame:
                last = (shown.frame, self._converted(convert, shown))
            yield Picture(shown.time_s, last[1], shown.lost)

    def _converted(self, convert: Converter, shown: Shown) -> UInt8:
        try:
            return convert(shown.frame)
        except (av.FFmpegError, ValueError) as error:
            raise DecodeError(
                f"{self.path}: the picture at {shown.time_s:.2f} s has a pixel format that cannot "
                f"be converted ({shown.frame.format.name}): re-encode the file"
            ) from error

    def _shown(self, wanted_s: Float64) -> Iterator[Shown]:
        given = 0
        with opened(self.path, self._timeout_s) as video:
            context = video.stream.codec_context
            reordered = video.has_only_decoding_times and context.has_b_frames
            if context.name in FAST_CODECS and not reordered:
                names = set(video.container.format.name.split(","))
                seek = bool(names & SEEKABLE_FORMATS)
                reader = PacketReader(video, video.packets(), wanted_s, self.deadline, seek)
                try:
                    for shown in reader:
                        yield shown
                        given += 1
                except Unordered:
                    pass
                self.end_s = reader.end_s
        if given == len(wanted_s):
            return
        with opened(self.path, self._timeout_s) as video:
            slow = SequentialReader(video, self.deadline)
            self._total_s = self._total_s or video.declared_s
            for shown in slow.shown(wanted_s[given:]):
                self.readable_s = slow.readable_s
                yield shown
            self.end_s, self.readable_s = slow.end_s, slow.readable_s

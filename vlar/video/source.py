"""One face for files and frame folders: pictures at rising times, and how long it all is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from vlar.errors import DecodeError
from vlar.types import Float64, UInt8
from vlar.video.container import Deadline, Opened, opened
from vlar.video.files import is_folder
from vlar.video.folder import FolderReader
from vlar.video.packets import FAST_CODECS, PacketReader, Shown
from vlar.video.pixels import Converter
from vlar.video.scan import Extent, extent, is_numbered, is_silent
from vlar.video.sequential import SequentialReader
from vlar.video.shown import ShownFrames
from vlar.video.strict import Unordered


@dataclass(frozen=True)
class Picture:
    """The picture on screen at a wanted time. ``lost``: another stands in for it."""

    time_s: float
    pixels: UInt8
    lost: bool


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
        self._total_s: float | None = None
        self._folder: FolderReader | None = None
        self._open = ExitStack()
        self._scanned: tuple[Opened, Extent] | None = None
        if is_folder(path):
            self._folder = FolderReader(path, fps, shorter_side, self.deadline)
            self.end_s = self._folder.duration_s

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def duration_s(self) -> float:
        """Seconds from the first picture to the end of the last."""
        if self._folder is not None:
            return self._folder.duration_s
        video = self._open.enter_context(opened(self.path, self._timeout_s))
        found = extent(video, keep=True)
        self._scanned = (video, found)
        self._total_s = found.duration_s
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
        except MemoryError:
            raise  # also FFmpeg's own
        except (FFmpegError, ValueError) as error:
            raise DecodeError(
                f"{self.path}: the picture at {shown.time_s:.2f} s has a pixel format that cannot "
                f"be converted ({shown.frame.format.name}): re-encode the file"
            ) from error

    def _shown(self, wanted_s: Float64) -> Iterator[Shown]:
        given = 0
        try:
            for shown in self._quick(wanted_s):
                yield shown
                given += 1
        except Unordered:
            pass
        if given == len(wanted_s):
            return
        found = self._extent()
        with opened(self.path, self._timeout_s) as video:
            slow = SequentialReader(video, self.deadline, found.broken_clock, found.holes)
            self._total_s = self._total_s or video.declared_s
            for shown in ShownFrames(slow).at(wanted_s[given:]):
                self.end_s, self.readable_s = slow.end_s, slow.readable_s
                yield shown
            self.end_s, self.readable_s = slow.end_s, slow.readable_s

    def _quick(self, wanted_s: Float64) -> Iterator[Shown]:
        """By the packet reader; nothing at all for a codec that it does not serve."""
        with ExitStack() as stack:
            packets: Iterator[Packet[VideoStream]] | None = None
            if self._scanned is not None and self._scanned[1].packets is not None:
                video = self._scanned[0]
                packets = iter(self._scanned[1].packets)
                self._scanned = (video, replace(self._scanned[1], packets=None))
                stack.callback(self._open.close)
            else:
                video = stack.enter_context(opened(self.path, self._timeout_s))
                if self._scanned is None and is_silent(video):
                    found = extent(video, keep=True)
                    self._scanned = (video, replace(found, packets=None))
                    if found.packets is None:
                        video = stack.enter_context(opened(self.path, self._timeout_s))
                    else:
                        packets = iter(found.packets)
            if self._scanned is not None and self._scanned[1].holes:
                return
            context = video.stream.codec_context
            reordered = video.has_only_decoding_times and context.has_b_frames
            if context.name not in FAST_CODECS or reordered:
                return
            seek = packets is None and video.can_seek
            look = self._has_holes if self._scanned is None and is_numbered(video) else None
            source = packets or video.packets()
            reader = PacketReader(video, source, wanted_s, self.deadline, seek, look)
            for shown in reader:
                self.end_s = reader.end_s
                yield shown
            self.end_s = reader.end_s

    def _has_holes(self) -> bool:
        return bool(self._extent().holes)

    def _extent(self) -> Extent:
        if self._scanned is not None:
            return self._scanned[1]
        with opened(self.path, self._timeout_s) as video:
            return extent(video, whole=True)

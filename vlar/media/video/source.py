"""One face for files and frame folders: pictures at rising times, and how long it all is."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from operator import sub
from pathlib import Path

from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from vlar.errors import DecodeError
from vlar.media.integrity.damage import LOOK_BACK
from vlar.media.integrity.packets import (
    FAST_CODECS,
    TIME_SLACK_S,
    PacketReader,
    TimedFrame,
    UnorderedPackets,
)
from vlar.media.integrity.picture_order import (
    GAP_FRAMES,
    FileExtent,
    extent,
    is_numbered,
    is_silent,
)
from vlar.media.video.container import Deadline, OpenVideo, errors_of, is_damage, opened
from vlar.media.video.files import is_folder
from vlar.media.video.folder import FolderReader, probe_folder
from vlar.media.video.pixels import Converter, orientation
from vlar.media.video.sequential import Decoded, SequentialReader
from vlar.types import Float64, UInt8, VideoInfo

_DEGREES = 90
_PACKETS_TO_TRY = 64
_MOST_CUT = 0.95  # of the stated length; a file that goes further is not called cut off


def probe(path: str | Path, *, timeout_s: float = 60.0, fps: float | None = None) -> VideoInfo:
    """Size, length and rate of a video file or of a folder of numbered frames.

    Only the first picture is decoded (for its size and rotation). A small file is read to its end,
    so its length is the readable one and not that of its header; where the header declares more
    than is there, the file is cut short, and its declared length is given.

    Args:
        path: The video.
        timeout_s: Limit for opening it.
        fps: Rate of a frame folder (default 25).

    Raises:
        DecodeError: not a readable video.
        UsageError: ``fps`` is not a positive number.
    """
    path = Path(path)
    with errors_of(path):
        if is_folder(path):
            return probe_folder(path, fps)
        return _probe_file(path, timeout_s)


def _probe_file(path: Path, timeout_s: float) -> VideoInfo:
    with opened(path, timeout_s) as video:
        length = extent(video, keep=True)
        width, height, turns = _first_picture(video, length)
        rate = video.stream.average_rate
        counted = length.n_frames / length.duration_s if length.n_frames else video.fps
        return VideoInfo(
            path=path,
            width=width,
            height=height,
            duration_s=length.duration_s,
            fps=float(rate) if rate else counted,
            codec=video.stream.codec_context.name,
            rotation_deg=(turns * _DEGREES) % 360,
            n_frames=length.n_frames,
        )


def _first_picture(video: OpenVideo, length: FileExtent) -> tuple[int, int, int]:
    """Displayed width and height, and quarter turns counter-clockwise."""
    context = video.stream.codec_context
    width, height, turns = context.width, context.height, 0
    try:
        if length.packets is None:
            video.container.seek(0)
        for tried, packet in enumerate(length.packets or video.packets()):
            frames = video.decode(packet)
            if frames:
                frame = frames[0]
                width, height, turns = frame.width, frame.height, orientation(frame)[0]
                break
            if tried > _PACKETS_TO_TRY:
                break
    except Exception as error:
        if not is_damage(error):
            raise
        # The header's size stands; reading frames will name the damage.
    return (height, width, turns) if turns % 2 else (width, height, turns)


_GAP_LOOK = 2 * LOOK_BACK  # packets around a gap whose damage explains it


class ShownFrames:
    """Chooses among the frames of a reader, which it reads as far as needed.

    Args:
        reader: At the start of its file.
    """

    def __init__(self, reader: SequentialReader) -> None:
        self._reader = reader

    def at(self, wanted_s: Float64) -> Iterator[TimedFrame]:
        """The frame on screen at each of the rising ``wanted_s``.

        Raises:
            DecodeError: not one frame can be decoded.
        """
        waiting: deque[tuple[TimedFrame, int, bool]] = deque()
        for shown, order, in_gap in self._answers(wanted_s.tolist()):
            waiting.append((shown, order, in_gap))
            while waiting and self._is_judged(waiting[0][1], waiting[0][2]):
                yield self._with_hindsight(*waiting.popleft())
        while waiting:
            yield self._with_hindsight(*waiting.popleft())

    def _is_judged(self, order: int, in_gap: bool) -> bool:
        """Return whether all packets that could reveal late damage of this one are decoded."""
        look = _GAP_LOOK if in_gap else LOOK_BACK
        return self._reader.end_s is not None or self._reader.account.last_order >= order + look

    def _with_hindsight(self, shown: TimedFrame, order: int, in_gap: bool) -> TimedFrame:
        if shown.lost or not self._reader.damage:
            return shown
        bad = self._reader.account.turned_bad(order)
        bad = bad or (in_gap and self._reader.account.has_bad(order - _GAP_LOOK, order + _GAP_LOOK))
        return replace(shown, lost=True) if bad else shown

    def _answers(self, wanted: list[float]) -> Iterator[tuple[TimedFrame, int, bool]]:
        """The frame on screen at each wanted time, as soon as the next one leaves the decoder.

        With the number of its packet, and whether the time lies in a gap after it.
        """
        number = 0
        last: Decoded | None = None
        for decoded in self._reader.frames():
            while last is not None and number < len(wanted):
                if wanted[number] + TIME_SLACK_S >= decoded.time_s:
                    break
                broken = decoded.missing_before or decoded.suspect
                in_gap = self._is_gap(last, decoded) and (
                    wanted[number] > last.time_s + GAP_FRAMES * self._reader.frame_s
                )
                lost = (broken and in_gap) or self._reader.is_lost(last, wanted[number])
                yield TimedFrame(last.frame, last.time_s, lost), last.order, in_gap
                number += 1
            last = decoded
            if number == len(wanted):
                return
        if last is None:
            raise DecodeError(
                f"{self._reader.path}: no frame can be decoded (0.0 s readable, "
                f"{self._reader.damage} damaged packets); copy or re-encode the file"
            )
        for time in wanted[number:]:
            lost = self._reader.is_lost(last, time) or self._reader.is_missing(time)
            yield TimedFrame(last.frame, last.time_s, lost), last.order, False

    def _is_gap(self, last: Decoded, decoded: Decoded) -> bool:
        """Return whether two frames are further apart than usual in this file."""
        long_s = decoded.time_s - last.time_s
        if long_s <= GAP_FRAMES * self._reader.frame_s or len(self._reader.packet_times) < 4:
            return False
        # What some containers call the rate is a guess.
        usual = statistics.median(
            map(sub, self._reader.packet_times[1:], self._reader.packet_times)
        )
        return long_s > GAP_FRAMES * usual * self._reader.tick_s


@dataclass(frozen=True)
class SampledPicture:
    """The picture on screen at a wanted time. ``lost``: another stands in for it."""

    time_s: float
    pixels: UInt8
    lost: bool


class VideoSource:
    """A video to take pictures from.

    Args:
        path: A file, or a folder of numbered pictures.
        timeout_s: Limit for each result; the caller restarts ``deadline``.
        shorter_side: Larger pictures are shrunk to this.
        fps: Rate of a frame folder.

    Attributes:
        frame_bytes: Size of a picture as its decoder gives it, once one was given.
        rate_hz: Frames a second as the file states them; None for a folder, or before it is open.
    """

    def __init__(
        self, path: Path, timeout_s: float, shorter_side: int | None, fps: float | None
    ) -> None:
        self.path = path
        self.deadline = Deadline(path, timeout_s)
        self.end_s: float | None = None
        self.readable_s: float | None = None
        self.frame_bytes = 0.0
        self.rate_hz: float | None = None
        self._timeout_s = timeout_s
        self._shorter_side = shorter_side
        self._total_s: float | None = None
        self._folder: FolderReader | None = None
        self._open = ExitStack()
        self._scanned: tuple[OpenVideo, FileExtent] | None = None
        if is_folder(path):
            self._folder = FolderReader(path, fps, shorter_side, self.deadline)
            self.end_s = self._folder.duration_s

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def duration_s(self) -> float:
        """Seconds from the first picture to the end of the last."""
        if self._folder is not None:
            return self._folder.duration_s
        video = self._open.enter_context(opened(self.path, self._timeout_s))
        span = extent(video, keep=True)
        self._scanned = (video, span)
        self._total_s = span.duration_s
        return self._total_s

    def cut_off(self) -> str:
        """Length up to which a file goes that ends early, in words; empty for others."""
        read = self.readable_s if self.readable_s is not None else self.end_s
        total = self._total_s
        if total is None or (read or 0.0) > _MOST_CUT * total:
            return ""
        return f"; it ends after {read or 0.0:.1f} s of {total:.1f} s"

    def pictures(self, wanted_s: Float64) -> Iterator[SampledPicture]:
        """The picture on screen at each of the rising ``wanted_s``.

        Raises:
            DecodeError: nothing can be decoded.
            DecodeTimeout: a result takes longer than the limit.
        """
        if self._folder is not None:
            for time_s, pixels, lost in self._folder.shown(wanted_s):
                yield SampledPicture(time_s, pixels, lost)
            return
        convert = Converter(self._shorter_side)
        last: tuple[object, UInt8] | None = None
        for shown in self._shown(wanted_s):
            if last is None or last[0] is not shown.frame:
                last = (shown.frame, self._converted(convert, shown))
            yield SampledPicture(shown.time_s, last[1], shown.lost)

    def _converted(self, convert: Converter, shown: TimedFrame) -> UInt8:
        frame = shown.frame
        self.frame_bytes = frame.width * frame.height * frame.format.padded_bits_per_pixel / 8
        try:
            return convert(frame)
        except MemoryError:
            raise  # also FFmpeg's own
        except (FFmpegError, ValueError) as error:
            raise DecodeError(
                f"{self.path}: the picture at {shown.time_s:.2f} s has a pixel format that cannot "
                f"be converted ({shown.frame.format.name}): re-encode the file"
            ) from error

    def _shown(self, wanted_s: Float64) -> Iterator[TimedFrame]:
        number = 0
        try:
            for shown in self._quick(wanted_s):
                yield shown
                number += 1
        except UnorderedPackets:
            pass
        if number == len(wanted_s):
            return
        span = self._extent()
        with opened(self.path, self._timeout_s) as video:
            slow = SequentialReader(video, self.deadline, span.broken_clock, span.holes)
            self._total_s, self.rate_hz = self._total_s or video.declared_s, video.fps
            for shown in ShownFrames(slow).at(wanted_s[number:]):
                self.end_s, self.readable_s = slow.end_s, slow.readable_s
                yield shown
            self.end_s, self.readable_s = slow.end_s, slow.readable_s

    def _quick(self, wanted_s: Float64) -> Iterator[TimedFrame]:
        """Yield frames by the packet reader; none for a codec that it does not serve."""
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
                    span = extent(video, keep=True)
                    self._scanned = (video, replace(span, packets=None))
                    if span.packets is None:
                        video = stack.enter_context(opened(self.path, self._timeout_s))
                    else:
                        packets = iter(span.packets)
            if self._scanned is not None and self._scanned[1].holes:
                return
            context, self.rate_hz = video.stream.codec_context, video.fps
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

    def _extent(self) -> FileExtent:
        if self._scanned is not None:
            return self._scanned[1]
        with opened(self.path, self._timeout_s) as video:
            return extent(video, whole=True)

"""Decoding everything in order: slow, but right wherever packets or containers lie."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from av.error import EOFError as EndOfFile
from av.error import ExitError
from av.logging import Capture
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vlar.errors import DecodeError
from vlar.media.integrity.damage import DamageAccount
from vlar.media.integrity.packets import TIME_SLACK_S, has_picture_types
from vlar.media.integrity.picture_order import (
    BACKWARD_S,
    FORWARD_S,
    MissingPictures,
    extent,
    short_by_s,
)
from vlar.media.video.container import Deadline, OpenVideo, errors_of, is_damage, opened, reason
from vlar.media.video.files import is_folder
from vlar.media.video.folder import FolderReader, frame_rate
from vlar.types import Float64, UInt8


class FrameClock:
    """Turns time stamps into seconds after the first frame that never fall.

    Args:
        tick: Seconds of one unit of a time stamp, as numerator and denominator.
        frame_s: Seconds a frame lasts where time stamps do not decide it.
        broken: A leap forward in time is damage (``FileExtent.broken_clock``).
        declared_s: Length that the container states, which no leap passes; None for none.

    Attributes:
        zero: The time stamp of the first frame; None before it.
        shift_s: Current shift of time stamps in seconds.
        longest_gap_s: The longest span between two frames.
    """

    def __init__(
        self,
        tick: tuple[int, int],
        frame_s: float,
        broken: bool,
        declared_s: float | None = None,
    ) -> None:
        self.zero: int | None = None
        self.shift_s = 0.0
        self.longest_gap_s = 0.0
        self._numerator, self._denominator = tick
        self._frame_s = frame_s
        self._broken = broken
        self._latest_s = float("inf") if declared_s is None else declared_s + BACKWARD_S
        self._clock_s = 0.0
        self._last_s = 0.0
        self._n_frames = 0

    def start_at(self, stamp: int) -> None:
        """Count from ``stamp``, not from the first frame; no effect once a frame has come."""
        if self.zero is None:
            self.zero = stamp

    def time_s(self, stamp: int | None) -> float:
        """The time of the next frame; it follows the last one where its stamp is missing."""
        self._n_frames += 1
        if stamp is not None and (self.zero is None or (self._n_frames == 1 and stamp < self.zero)):
            self.zero, self._clock_s = stamp, 0.0
        if self._n_frames == 1 and self.zero in (None, stamp):
            return 0.0
        if stamp is None or self.zero is None:
            step_s = self._frame_s
            self._clock_s += step_s
        else:
            clock_s = (stamp - self.zero) * self._numerator / self._denominator
            step_s = clock_s - self._clock_s
            too_late = step_s > BACKWARD_S and clock_s + self.shift_s > self._latest_s
            leaps = step_s > FORWARD_S or too_late
            if step_s < -BACKWARD_S or (self._broken and leaps):
                step_s = self._frame_s
                self.shift_s = self._last_s + step_s - clock_s
            self._clock_s = max(clock_s, self._clock_s) if step_s <= 0 else clock_s
        time_s = max(self._clock_s + self.shift_s, self._last_s)
        self.longest_gap_s = max(self.longest_gap_s, time_s - self._last_s)
        self._last_s = time_s
        return time_s


_MOST_DEMUX_ERRORS = 64
# Their decoders drop frames silently where what these refer to is gone. Two packets without a
# frame prove that: of two fields, one packet each, only one gives a frame.
_DROPPING_CODECS = frozenset({"h264", "hevc", "av1", "libdav1d", "vp9", "libvpx-vp9"})


class Decoded(NamedTuple):
    """A frame, and what was known of it when it left the decoder.

    Attributes:
        time_s: Seconds after the first frame.
        frame: The frame.
        suspect: It may show something wrong.
        order: The number of its packet in decoding order.
        shift_s: How far its time stamp was moved.
        missing_before: Packets are missing between it and the frame before it.
    """

    time_s: float
    frame: VideoFrame
    suspect: bool
    order: int
    shift_s: float
    missing_before: bool


class SequentialReader:
    """Decodes all frames of an open file and keeps the account of what failed.

    After a packet that cannot be read whole, all frames up to the next key frame are called lost,
    unless no other frame refers to it: they come out, but may show remains of earlier ones.

    Args:
        video: The open file, at its start.
        deadline: Checked at every packet.
        broken_clock: A leap forward in time is damage (``FileExtent.broken_clock``).
        holes: Where frames are missing (``FileExtent.holes``).

    Attributes:
        end_s: Where the last decoded frame ends; None until everything has been read.
        frame_s: Seconds a frame lasts on average.
        last_frame_s: Seconds the last frame lasts.
        account: Which packets are damaged.
        packet_times: Time stamps of the latest packets, sorted.
        tick_s: Seconds of one unit of a time stamp.
        damage: How often a packet could not be read or decoded, or a frame came out corrupt.
        n_frames: Frames decoded so far.
        first_error: The first exception of the demuxer or decoder, in words.
    """

    def __init__(
        self,
        video: OpenVideo,
        deadline: Deadline,
        broken_clock: bool = False,
        holes: tuple[MissingPictures, ...] = (),
    ) -> None:
        self.end_s: float | None = None
        self.damage = 0
        self.n_frames = 0
        self.n_packets = 0
        self.readable_s = 0.0
        self.first_error = ""
        self._video = video
        self._deadline = deadline
        self._by_dts = video.has_only_decoding_times
        numerator, denominator = video.seconds_a_tick
        self.tick_s = numerator / denominator
        self.frame_s = min(1 / video.fps, 10.0)
        self.last_frame_s = self.frame_s
        self._clock = FrameClock(video.seconds_a_tick, self.frame_s, broken_clock, video.declared_s)
        self.packet_times: list[int] = []
        self._first_stamp: int | None = None
        self._is_cut_in = False  # packets before the first frame only serve to decode it
        self.account = DamageAccount(has_picture_types(video))
        self._errors_noted = 0
        self._at_the_cut = False
        self._holes = deque(holes)
        self._before_holes = {hole.stamp for hole in holes}

    @property
    def path(self) -> Path:
        """The file."""
        return self._video.path

    def frames(self) -> Iterator[Decoded]:
        """Every frame with its time in seconds after the first, never falling."""
        packets = self._packets()
        last: Decoded | None = None
        packet: Packet[VideoStream] | None = None
        while packet is not None or self.end_s is None:
            self._deadline.check()
            with Capture() as self._video.errors.pending:
                packet = next(packets)
                if packet is not None:
                    self._note(packet)
                frames = self._decode(packet)
            for frame in frames:
                last = self._decoded(frame, last)
                yield last
            if packet is None:
                self.end_s = self.readable_s

    def _decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        errors = self._video.errors
        before = errors.count
        frames: list[VideoFrame] = []
        failed = False
        try:
            frames = self._video.decode(packet)
        except EndOfFile:
            pass
        except Exception as error:
            if not is_damage(error):
                raise
            failed = True
            self._tell(error)
            if isinstance(error, BlockingIOError):
                # A frame got stuck in the decoder; it takes no packet until it is emptied.
                self._video.decoder.flush_buffers()
        if failed or errors.count > before:
            self.damage += 1
            others_refer = packet is None or not packet.is_disposable
            self.account.add_bad(self.account.last_order, others_refer=others_refer)
        self._errors_noted = errors.count
        return frames

    def _decoded(self, frame: VideoFrame, last: Decoded | None) -> Decoded:
        self.n_frames += 1
        stamp = self._stamp(frame)
        order = self.account.order_of(stamp)
        if frame.is_corrupt:
            self.damage += 1
            self.account.add_bad(order)
        suspect = self.account.is_suspect(frame, order)
        starts_bad = self.account.starts_bad or (self._is_cut_in and self.damage > 0)
        if starts_bad and self._first_stamp is not None:
            self._clock.start_at(self._first_stamp)  # the first frame of all is lost
        time_s = self._clock.time_s(stamp)
        self.readable_s = time_s + self.last_frame_s
        missing = last is not None and (
            self._stamp(last.frame) in self._before_holes
            or self.account.has_hole(last.order, order)
        )
        return Decoded(time_s, frame, suspect, order, self._clock.shift_s, missing)

    def _tell(self, error: Exception) -> None:
        self.first_error = self.first_error or reason(error)

    def missing_s(self) -> float:
        """Seconds that the decoded video lacks of its declared length, once all is read.

        0 where the difference is within what the last frame's length and rounding explain.
        """
        declared = self._video.declared_s
        if declared is None or self.end_s is None:
            return 0.0
        short = declared - self.end_s
        frames = self._video.stream.frames
        all_packets_came = frames > 0 and self.n_packets >= frames and self.damage == 0
        if all_packets_came or short <= max(short_by_s(self._video), 2 * self._clock.longest_gap_s):
            return 0.0
        return short

    def is_missing(self, time_s: float) -> bool:
        """Return whether the file declares more than it holds at a time past the last frame."""
        return time_s >= self.readable_s and self.missing_s() > 0

    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        """All packets, then None to drain the decoder; a broken stretch is stepped over."""
        errors = 0
        cut_short = self._video.is_cut_short
        held: Packet[VideoStream] | None = None
        while True:
            try:
                for packet in self._video.packets():
                    if not cut_short:
                        yield packet
                        continue
                    if held is not None:
                        yield held
                    held = packet
                break
            except EndOfFile:
                break
            except ExitError:
                self._deadline.check()
                break
            except Exception as error:
                if not is_damage(error):
                    raise
                if held is not None:
                    yield held
                    held = None
                self._tell(error)
                self.damage += 1
                self.account.add_hole()
                errors += 1
                if errors > _MOST_DEMUX_ERRORS:
                    break
        if held is not None:
            self._at_the_cut = True
            yield held
        if self._video.errors.count > self._errors_noted:
            self._note_errors()
        yield None

    def _note_errors(self) -> None:
        """Messages that came since the last call of the decoder are the demuxer's."""
        self.damage += 1
        self.account.add_hole()
        self._errors_noted = self._video.errors.count

    def _note(self, packet: Packet[VideoStream]) -> None:
        if self._video.errors.count > self._errors_noted:
            self._note_errors()
        self.n_packets += 1
        stamp = self._stamp(packet)
        if self._holes and stamp is not None and stamp > self._holes[0].stamp:
            self.damage += 1
            if self._holes.popleft().referred:
                self.account.add_hole()
        self.account.add_packet(stamp, packet.is_keyframe)
        if self._at_the_cut or self._video.is_damaged(packet):
            self.damage += 1
            self.account.add_bad(self.account.last_order)
        self._is_cut_in = self._is_cut_in or (packet.is_discard and self.n_packets == 1)
        if stamp is not None and not packet.is_discard:
            if self.n_packets == 1 and packet.is_keyframe:
                self._first_stamp = stamp
            elif self._is_cut_in and not self.n_frames:
                before = stamp if self._first_stamp is None else self._first_stamp
                self._first_stamp = min(stamp, before)
            if not self.packet_times or stamp > self.packet_times[-1]:
                duration_s = (packet.duration or 0) * self.tick_s
                self.last_frame_s = duration_s or self.frame_s
            insort(self.packet_times, stamp)
            if len(self.packet_times) > 256:
                del self.packet_times[:64]

    def _stamp(self, item: Packet[VideoStream] | VideoFrame) -> int | None:
        return item.dts if self._by_dts else item.pts

    def is_lost(self, last: Decoded, wanted_s: float) -> bool:
        """Return whether ``last`` fails to show ``wanted_s``: it is suspect, or another should
        show.
        """
        if last.suspect or max(wanted_s, 0.0) + TIME_SLACK_S < last.time_s:
            return True
        stamp = self._stamp(last.frame)
        zero = self._clock.zero
        if stamp is None or zero is None:
            return False
        numerator, denominator = self._video.seconds_a_tick
        ticks = int((wanted_s - last.shift_s + TIME_SLACK_S) * denominator / numerator)
        # Packets that should have shown after the frame and by then.
        later = bisect_right(self.packet_times, zero + ticks)
        later -= bisect_right(self.packet_times, stamp)
        drops = self._video.decoder.name in _DROPPING_CODECS
        return later >= 1 if self.damage else drops and later >= 2


_CHUNK = 50  # frames


@dataclass(frozen=True)
class FrameChunk:
    """Some frames that follow each other.

    Attributes:
        times_s: (n,) float64 times at which they are shown.
        pixels: (n, height, width, 3) uint8 RGB, squashed and as they are stored, not turned.
    """

    times_s: Float64
    pixels: UInt8


def read_frames(
    path: str | Path, height: int, width: int, *, timeout_s: float = 60.0
) -> Iterator[FrameChunk]:
    """All frames of a video in the order of time; memory holds one chunk.

    Args:
        path: A video file, or a folder of numbered pictures.
        height: Pixels.
        width: Pixels.
        timeout_s: Limit for each chunk.

    Yields:
        At most 50 frames at a time.

    Raises:
        DecodeError: not one frame can be decoded, or reading stops in the middle.
        DecodeTimeout: a chunk takes longer than ``timeout_s``.
    """
    path = Path(path)
    deadline = Deadline(path, timeout_s)
    times: list[float] = []
    pixels: list[UInt8] = []
    n_frames = 0
    with errors_of(path):
        frames = _of_folder if is_folder(path) else _of_file
        for time_s, picture in frames(path, height, width, deadline):
            times.append(time_s)
            pixels.append(picture)
            n_frames += 1
            if len(times) == _CHUNK:
                yield FrameChunk(np.array(times), np.stack(pixels))
                times, pixels = [], []
                deadline.restart()
        if times:
            yield FrameChunk(np.array(times), np.stack(pixels))
        if not n_frames:
            raise DecodeError(f"{path}: no frame can be decoded; copy or re-encode the file")


def _of_file(
    path: Path, height: int, width: int, deadline: Deadline
) -> Iterator[tuple[float, UInt8]]:
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()
    with opened(path, deadline.timeout_s) as video:
        span = extent(video, whole=True)
    with opened(path, deadline.timeout_s) as video:
        reader = SequentialReader(video, deadline, span.broken_clock, span.holes)
        for decoded in reader.frames():
            small = reformatter.reformat(
                decoded.frame, width=width, height=height, format="rgb24", interpolation="BICUBIC"
            )
            yield decoded.time_s, small.to_ndarray().astype(np.uint8, copy=False)


def _of_folder(
    path: Path, height: int, width: int, deadline: Deadline
) -> Iterator[tuple[float, UInt8]]:
    from PIL import Image

    fps = frame_rate(None)
    folder = FolderReader(path, None, 4 * max(height, width), deadline)
    wanted_s = (np.arange(round(folder.duration_s * fps), dtype=np.float64) + 0.5) / fps
    for time_s, (_, picture, _) in zip(wanted_s.tolist(), folder.shown(wanted_s), strict=True):
        small = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
        yield time_s - 0.5 / fps, np.asarray(small, dtype=np.uint8)

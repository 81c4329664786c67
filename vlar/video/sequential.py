"""Decoding everything in order: slow, but right wherever packets or containers lie."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass

from av.error import EOFError as EndOfFile
from av.error import ExitError, FFmpegError, InvalidDataError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vlar.errors import DecodeError
from vlar.types import Float64
from vlar.video.container import Deadline, Opened
from vlar.video.packets import TIME_SLACK_S, Shown
from vlar.video.scan import BACKWARD_S, FORWARD_S, SHORT_BY_S

_MOST_DEMUX_ERRORS = 64


class SequentialReader:
    """Decodes all frames of an open file and keeps the account of what failed.

    After a packet that cannot be decoded, all frames up to the next key frame are called lost,
    unless no other frame refers to it: they come out, but may show remains of earlier ones.

    Args:
        video: The open file, at its start.
        deadline: Checked at every packet.
        broken_clock: A leap forward in time is damage (``Extent.broken_clock``).

    Attributes:
        end_s: Where the last decoded frame ends; None until everything has been read.
        damage: How often a packet could not be read or decoded, or a frame came out corrupt.
        n_frames: Frames decoded so far.
    """

    def __init__(self, video: Opened, deadline: Deadline, broken_clock: bool = False) -> None:
        self.end_s: float | None = None
        self.damage = 0
        self.n_frames = 0
        self.n_packets = 0
        self.readable_s = 0.0
        self._video = video
        self._deadline = deadline
        numerator, denominator = video.seconds_a_tick
        self._tick_s = numerator / denominator
        self._frame_s = min(1 / video.fps, 10.0)
        self._last_frame_s = self._frame_s
        self._broken_clock = broken_clock
        self._zero: int | None = None
        self._clock_s = 0.0
        self._shift_s = 0.0
        self._last_s = 0.0
        self._suspect = False
        self._longest_gap_s = 0.0
        self._packet_times: list[int] = []

    def frames(self) -> Iterator[tuple[float, VideoFrame]]:
        """Every frame with its time in seconds after the first, never falling."""
        context = self._video.stream.codec_context
        for packet in self._packets():
            self._deadline.check()
            if packet is not None:
                self._note(packet)
            try:
                decoded = context.decode(packet)
            except InvalidDataError:
                self.damage += 1
                self._suspect = self._suspect or packet is None or not packet.is_disposable
                continue
            except EndOfFile:
                continue
            for frame in decoded:
                self.n_frames += 1
                self.damage += frame.is_corrupt
                self._suspect = frame.is_corrupt or (self._suspect and not frame.key_frame)
                time_s = self._clock(frame)
                self.readable_s = time_s + self._last_frame_s
                yield time_s, frame
        self.end_s = self.readable_s

    def shown(self, wanted_s: Float64) -> Iterator[Shown]:
        """The frame on screen at each of the rising ``wanted_s``.

        Raises:
            DecodeError: not one frame can be decoded.
        """
        wanted = wanted_s.tolist()
        given = 0
        last: _Last | None = None
        for time_s, frame in self.frames():
            while last is not None and given < len(wanted):
                if wanted[given] + TIME_SLACK_S >= time_s:
                    break
                yield Shown(last.frame, last.time_s, self._is_lost(last, wanted[given]))
                given += 1
            last = _Last(time_s, frame, self._suspect, self._shift_s)
            if given == len(wanted):
                return
        if last is None:
            raise DecodeError(
                f"{self._video.path}: no frame can be decoded (0.0 s readable, {self.damage} "
                "damaged packets); copy or re-encode the file"
            )
        for time in wanted[given:]:
            lost = self._is_lost(last, time) or self._is_missing(time)
            yield Shown(last.frame, last.time_s, lost)

    def missing_s(self) -> float:
        """How much shorter the decoded video is than its container declares, once all is read.

        0 where the difference is within what the last frame's length and rounding explain.
        """
        declared = self._video.declared_s
        if declared is None or self.end_s is None:
            return 0.0
        short = declared - self.end_s
        frames = self._video.stream.frames
        all_packets_came = frames > 0 and self.n_packets >= frames and self.damage == 0
        if all_packets_came or short <= max(SHORT_BY_S, 2 * self._longest_gap_s):
            return 0.0
        return short

    def _is_missing(self, time_s: float) -> bool:
        return time_s >= self.readable_s and self.missing_s() > 0

    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        """All packets, then None to drain the decoder; a broken stretch is stepped over."""
        errors = 0
        while True:
            try:
                yield from self._video.packets()
                break
            except EndOfFile:
                break
            except ExitError:
                self._deadline.check()
                break
            except (FFmpegError, OSError):
                self.damage += 1
                errors += 1
                if errors > _MOST_DEMUX_ERRORS:
                    break
        yield None

    def _note(self, packet: Packet[VideoStream]) -> None:
        self.n_packets += 1
        self.damage += packet.is_corrupt
        stamp = self._stamp(packet)
        if stamp is not None and not packet.is_discard:
            if not self._packet_times or stamp > self._packet_times[-1]:
                duration_s = (packet.duration or 0) * self._tick_s
                self._last_frame_s = duration_s or self._frame_s
            insort(self._packet_times, stamp)
            if len(self._packet_times) > 256:
                del self._packet_times[:64]

    def _stamp(self, item: Packet[VideoStream] | VideoFrame) -> int | None:
        return item.dts if self._video.has_only_decoding_times else item.pts

    def _clock(self, frame: VideoFrame) -> float:
        """Presentation time after the first frame; goes on where time stamps start again."""
        stamp = self._stamp(frame)
        if self._zero is None and stamp is not None:
            self._zero, self._clock_s = stamp, 0.0
        if self.n_frames == 1:
            return 0.0
        if stamp is None or self._zero is None:
            step_s = self._frame_s
            self._clock_s += step_s
        else:
            numerator, denominator = self._video.seconds_a_tick
            clock_s = (stamp - self._zero) * numerator / denominator
            step_s = clock_s - self._clock_s
            if step_s < -BACKWARD_S or (self._broken_clock and step_s > FORWARD_S):
                step_s = self._frame_s
                self._shift_s = self._last_s + step_s - clock_s
            self._clock_s = max(clock_s, self._clock_s) if step_s <= 0 else clock_s
        time_s = max(self._clock_s + self._shift_s, self._last_s)
        self._longest_gap_s = max(self._longest_gap_s, time_s - self._last_s)
        self._last_s = time_s
        return time_s

    def _is_lost(self, last: _Last, wanted_s: float) -> bool:
        """Whether a later packet than the one of the frame should have shown at ``wanted_s``."""
        if last.suspect:
            return True
        stamp = self._stamp(last.frame)
        if not self.damage or stamp is None or self._zero is None:
            return False
        numerator, denominator = self._video.seconds_a_tick
        ticks = int((wanted_s - last.shift_s + TIME_SLACK_S) * denominator / numerator)
        at = bisect_right(self._packet_times, self._zero + ticks) - 1
        return at >= 0 and self._packet_times[at] > stamp


@dataclass(frozen=True)
class _Last:
    """The frame on screen, and what was known of it when it came."""

    time_s: float
    frame: VideoFrame
    suspect: bool
    shift_s: float

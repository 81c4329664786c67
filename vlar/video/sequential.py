"""Decoding everything in order: slow, but right wherever packets or containers lie."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vlar.errors import DecodeError
from vlar.types import Float64
from vlar.video.container import Deadline, Opened
from vlar.video.packets import TIME_SLACK_S, Shown

_LONG_JUMP_S = 1.0
_MOST_DEMUX_ERRORS = 64
_SHORT_BY_S = 0.5


class SequentialReader:
    """Decodes all frames of an open file and keeps the account of what failed.

    Attributes:
        end_s: Where the last decoded frame ends; None until everything has been read.
        damage: How often a packet could not be read or decoded, or a frame came out corrupt.
        n_frames: Frames decoded so far.
    """

    def __init__(self, video: Opened, deadline: Deadline) -> None:
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
        self._zero: int | None = None
        self._offset_s = 0.0
        self._last_s = 0.0
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
            except av.error.InvalidDataError:
                self.damage += 1
                continue
            except av.error.EOFError:
                continue
            for frame in decoded:
                self.n_frames += 1
                self.damage += frame.is_corrupt
                time_s = self._clock(frame)
                self.readable_s = time_s + self._frame_s
                yield time_s, frame
        self.end_s = self.readable_s

    def shown(self, wanted_s: Float64) -> Iterator[Shown]:
        """The frame on screen at each of the rising ``wanted_s``.

        Raises:
            DecodeError: not one frame can be decoded.
        """
        wanted = wanted_s.tolist()
        given = 0
        last: tuple[float, VideoFrame] | None = None
        for time_s, frame in self.frames():
            while last is not None and given < len(wanted):
                if wanted[given] + TIME_SLACK_S >= time_s:
                    break
                yield Shown(last[1], last[0], self._is_lost(last[1], wanted[given]))
                given += 1
            last = (time_s, frame)
            if given == len(wanted):
                return
        if last is None:
            raise DecodeError(
                f"{self._video.path}: no frame can be decoded (0.0 s readable, {self.damage} "
                "damaged packets); copy or re-encode the file"
            )
        for time in wanted[given:]:
            yield Shown(last[1], last[0], self._is_lost(last[1], time) or self._is_missing(time))

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
        if all_packets_came or short <= max(_SHORT_BY_S, 2 * self._longest_gap_s):
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
            except av.error.EOFError:
                break
            except av.error.ExitError:
                self._deadline.check()
                break
            except (av.FFmpegError, OSError):
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
            insort(self._packet_times, stamp)
            if len(self._packet_times) > 256:
                del self._packet_times[:64]
        if packet.duration:
            self._frame_s = packet.duration * self._tick_s

    def _stamp(self, item: Packet[VideoStream] | VideoFrame) -> int | None:
        return item.dts if self._video.has_only_decoding_times else item.pts

    def _clock(self, frame: VideoFrame) -> float:
        """Presentation time after the first frame; goes on where time stamps start again."""
        stamp = self._stamp(frame)
        if stamp is None:
            time_s = self._last_s + (self._frame_s if self.n_frames > 1 else 0.0)
        else:
            if self._zero is None:
                self._zero = stamp
            numerator, denominator = self._video.seconds_a_tick
            time_s = (stamp - self._zero) * numerator / denominator + self._offset_s
            if time_s < self._last_s - _LONG_JUMP_S:
                self._offset_s += self._last_s + self._frame_s - time_s
                time_s = self._last_s + self._frame_s
        time_s = max(time_s, self._last_s)
        self._longest_gap_s = max(self._longest_gap_s, time_s - self._last_s)
        self._last_s = time_s
        return time_s

    def _is_lost(self, frame: VideoFrame, wanted_s: float) -> bool:
        """Whether a later packet than the one of ``frame`` should have shown at ``wanted_s``."""
        if frame.is_corrupt:
            return True
        stamp = self._stamp(frame)
        if not self.damage or stamp is None or self._zero is None:
            return False
        numerator, denominator = self._video.seconds_a_tick
        ticks = int((wanted_s - self._offset_s + TIME_SLACK_S) * denominator / numerator)
        at = bisect_right(self._packet_times, self._zero + ticks) - 1
        return at >= 0 and self._packet_times[at] > stamp

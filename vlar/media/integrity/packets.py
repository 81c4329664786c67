"""The packet reader: the frames at wanted times for the least decoding, equal to reading it all.

Packets are read once, in decoding order. What follows the last key frame waits, undecoded; if the
next wanted time is at or past a new key frame, all that waited is dropped. Otherwise the decoder
gets the packets up to the wanted one, and of those that are not wanted it skips the ones no other
frame refers to. Memory holds what waits (bounded), never the file. Presentation times come from the
packets, so an index that lies does not matter; where the packets themselves lie,
``UnorderedPackets`` makes the caller decode everything instead.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Literal

from av.logging import Capture
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from vlar.media.integrity.picture_order import (
    GAP_FRAMES,
    GapDetector,
    is_odd_gap,
    short_by_s,
)
from vlar.media.video.container import Deadline, OpenVideo, is_damage
from vlar.registry import optional_shelf
from vlar.types import Float64

# FFmpeg reports this where a decoder starts at a key frame that is not the first of all and no IDR
# picture: the stream names frames before it that were rightly left out.
_OF_A_LATE_START = "mmco: unref short failure"


class UnorderedPackets(Exception):  # noqa: N818 - a signal that never leaves this package
    """The packets do not show which picture stands when; only decoding everything does."""


def has_picture_types(video: OpenVideo) -> bool:
    """Return whether the decoder marks key frames in its output; libvpx marks only packets."""
    return not video.decoder.name.startswith("libvpx")


class StrictDecoder:
    """Decodes packets of an open file; at a sign of damage a method raises ``UnorderedPackets``.

    All frames that leave it are tested, also those that nobody wants: the wanted ones refer to
    them.

    Attributes:
        zero: The presentation time of the first picture of the file.
    """

    def __init__(self, video: OpenVideo) -> None:
        self.zero = 0
        self._video = video
        self._context = video.decoder
        self._dirty = False
        # dav1d takes the setting once, when it opens; libvpx has none.
        self._may_skip = not self._context.name.startswith("lib")
        self._gives_types = has_picture_types(video)
        self._skipping: bool | None = None
        self._excused = 0  # errors that show no damage
        self._started_at: int | None = None  # a key frame that must prove to be one
        # Frames that show before the key frame decoding started at may refer to what was left out.
        self._whole_from: int | None = None
        self._started_late = False
        self._started_with: Packet[VideoStream] | None = None

    @property
    def is_damaged(self) -> bool:
        """Whether FFmpeg reported an error that shows damage."""
        return self._video.errors.count > self._excused

    def start_at(self, pts: int | None) -> None:
        """The next packet is a key frame, and what was before it has been drained."""
        self._started_at = self._whole_from = pts
        self._started_late = self._started_late or (pts or 0) > self.zero

    def decode(self, packet: Packet[VideoStream], needed: bool) -> list[VideoFrame]:
        """Feed a packet; one that is not ``needed`` may be skipped if no frame refers to it."""
        if self._may_skip and self._skipping is not (not needed):
            mode: Literal["DEFAULT", "NONREF"] = "DEFAULT" if needed else "NONREF"
            self._context.skip_frame = mode
            self._skipping = not needed
        if not self._dirty:
            self._started_with = packet
        self._dirty = True
        if self._video.is_damaged(packet):
            raise UnorderedPackets
        return self._tested(packet)

    def drain(self) -> list[VideoFrame]:
        """Frames left in the decoder; afterwards it must start at a key frame."""
        if not self._dirty:
            return []
        frames = self._tested(None)
        self._context.flush_buffers()
        self._dirty = False
        if self._started_at is not None:
            raise UnorderedPackets
        return frames

    def _tested(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        frames = self._video.decode(packet)
        if self.is_damaged:
            if not self._is_excused(packet):
                raise UnorderedPackets
            self._excused = self._video.errors.count
        for frame in frames:
            pts = frame.pts
            if pts is None:
                raise UnorderedPackets
            if self._started_at is not None and pts >= self._started_at:
                # With intra refresh a frame is marked as a key frame, and is whole only later.
                is_key = frame.pict_type == PictureType.I or not self._gives_types
                if pts > self._started_at or not is_key:
                    raise UnorderedPackets
                self._started_at = None
            if frame.is_corrupt and (self._whole_from is None or pts >= self._whole_from):
                raise UnorderedPackets
        return frames

    def _is_excused(self, packet: Packet[VideoStream] | None) -> bool:
        """Return whether errors come from a late start and not from damage."""
        if packet is None or not self._started_late:
            return False
        if packet.pts is not None and packet.pts < (self._whole_from or self.zero):
            return True
        if not all(_OF_A_LATE_START in message for message in self._video.errors.latest):
            return False
        first, numbers = self._started_with, optional_shelf("plugins.integrity.h264")
        if first is None:
            return True
        return numbers is not None and not numbers.forgets(first, self._context.extradata or b"")


FAST_CODECS = frozenset(
    {"h264", "hevc", "mpeg4", "mpeg1video", "mpeg2video", "vp8", "vp9", "av1", "libdav1d"}
    | {"mjpeg", "prores"}
)
"""Codecs whose packets are one picture each and whose key frames start afresh."""

TIME_SLACK_S = 1e-6
"""A frame counts as shown at t if it comes at most this much after t: float rounding."""
# No codec in use reorders over more than 16 frames (32 fields): once this many later pictures are
# known, no earlier one can still come.
_REORDER = 34
_MOST_WAITING = 512
_MOST_WAITING_BYTES = 32 << 20
_SEEK_AHEAD_S = 20.0

if TYPE_CHECKING:
    VideoPacket = Packet[VideoStream]


@dataclass(frozen=True)
class TimedFrame:
    """The picture on screen at one wanted time; ``lost``: another stands in for it."""

    frame: VideoFrame
    time_s: float
    lost: bool = False


class PacketReader:
    """Yields the picture for each wanted time.

    Args:
        video: The open file, at its start.
        packets: Its packets in decoding order.
        wanted_s: (n,) rising seconds after the first frame.
        deadline: Checked at every packet.
        seek: Whether to seek to the next wanted time if it is far ahead.
        has_holes: For ``GapDetector``.
    """

    def __init__(
        self,
        video: OpenVideo,
        packets: Iterator[VideoPacket],
        wanted_s: Float64,
        deadline: Deadline,
        seek: bool,
        has_holes: Callable[[], bool] | None = None,
    ) -> None:
        self.end_s: float | None = None
        self._video = video
        self._decoder = StrictDecoder(video)
        self._packets = packets
        self._wanted_s = wanted_s
        self._deadline = deadline
        self._seek = seek
        self._limits: list[int] = []  # wanted times in ticks
        self._targets: list[int] = []  # presentation times, aligned with _limits
        self._given = 0
        self._times: list[int] = []  # known presentation times, sorted
        self._waiting: deque[VideoPacket] = deque()
        self._waiting_bytes = 0
        self._kept: set[int] = set()  # what to catch as it leaves the decoder
        self._frames: dict[int, VideoFrame] = {}
        self._fed_to: dict[int, None] = {}
        self._ended = False
        self._zero = 0
        self._sought: int | None = None
        self._last_end = 0
        numerator, denominator = video.seconds_a_tick
        self._gap = GAP_FRAMES * denominator / (numerator * video.fps)
        self._last: VideoPacket | None = None
        self._watch = GapDetector(self._gap, has_holes)

    def __iter__(self) -> Iterator[TimedFrame]:
        """The shown pictures, one for each wanted time, in order.

        Raises:
            UnorderedPackets: decode everything instead, from the first time that was not given.
        """
        try:
            yield from self._run()
        except UnorderedPackets:
            raise
        except Exception as error:
            if not is_damage(error):
                raise
            raise UnorderedPackets from error

    def _run(self) -> Iterator[TimedFrame]:
        with Capture() as self._video.errors.pending:
            self._packets = chain(self._begin(), self._packets)
        while len(self._targets) < len(self._limits):
            with Capture() as self._video.errors.pending:
                self._advance()
            yield from self._ready()
        with Capture() as self._video.errors.pending:
            self._drain()
        yield from self._ready()

    def _advance(self) -> None:
        """Read packets until a wanted picture is there, or all are resolved."""
        while True:
            if self._last is not None:
                self._maybe_seek(self._last)
            self._deadline.check()
            self._last = next(self._packets, None)
            if self._last is None:
                self._end()
            else:
                self._take(self._last)
            self._resolve()
            if len(self._targets) == len(self._limits) or self._is_ready():
                return

    def _is_ready(self) -> bool:
        return self._given < len(self._targets) and self._targets[self._given] in self._frames

    def _begin(self) -> list[VideoPacket]:
        """Read ahead until the first presentation time is certain."""
        first: list[VideoPacket] = []
        shown: list[int] = []
        for packet in self._packets:
            first.append(packet)
            if packet.pts is None or self._video.errors.count:
                raise UnorderedPackets
            if not packet.is_discard:
                shown.append(packet.pts)
            if len(shown) > _REORDER:
                break
        if not shown or not first[0].is_keyframe:
            raise UnorderedPackets
        self._zero = self._decoder.zero = min(shown)
        if not first[0].is_discard and first[0].pts != self._zero:
            # Only a decoder decides whether pictures before the key frame show.
            raise UnorderedPackets
        numerator, denominator = self._video.seconds_a_tick
        for time_s in self._wanted_s.tolist():
            ticks = int((max(time_s, 0.0) + TIME_SLACK_S) * denominator / numerator)
            self._limits.append(self._zero + ticks)
        return first

    def _take(self, packet: VideoPacket) -> None:
        pts = packet.pts
        if pts is None or packet.is_corrupt or self._decoder.is_damaged:
            raise UnorderedPackets
        if packet.is_keyframe and not packet.is_discard:
            if self._times and self._times[-1] > pts:
                raise UnorderedPackets
            if self._limits[len(self._targets)] >= pts:
                self._drain()
                self._drop_waiting()
                self._decoder.start_at(pts)
        self._waiting.append(packet)
        self._waiting_bytes += packet.size
        if not packet.is_discard:
            index = bisect_left(self._times, pts)
            if index < len(self._times) and self._times[index] == pts:
                raise UnorderedPackets
            self._times.insert(index, pts)
            if index == len(self._times) - 1:
                self._last_end = pts + (packet.duration or 0)

    def _resolve(self) -> None:
        """Fix the packet of each wanted time that is certain by now, and decode up to it."""
        while len(self._targets) < len(self._limits):
            limit = self._limits[len(self._targets)]
            if not self._is_certain(limit):
                break
            if not self._times:
                raise UnorderedPackets
            index = max(bisect_right(self._times, limit) - 1, 0)
            target = self._times[index]
            if limit - target > self._gap and is_odd_gap(self._times, index):
                raise UnorderedPackets  # frames may be missing: decoding what is around it shows it
            if self._watch.finds_hole(self._times, index):
                raise UnorderedPackets
            self._targets.append(target)
            if target not in self._fed_to:
                self._jump(limit)
            while target not in self._fed_to:
                if not self._waiting:
                    raise UnorderedPackets
                self._feed()
        while len(self._waiting) > _MOST_WAITING or self._waiting_bytes > _MOST_WAITING_BYTES:
            self._feed()
        self._forget()

    def _jump(self, limit: int) -> None:
        """Start at the last waiting key frame at or before ``limit``, if that skips anything."""
        index = len(self._waiting) - 1
        while index > 0:
            packet = self._waiting[index]
            if packet.is_keyframe and not packet.is_discard and (packet.pts or 0) <= limit:
                break
            index -= 1
        if index <= 0:
            return
        self._drain(self._targets[self._given : -1])
        for _ in range(index):
            self._waiting_bytes -= self._waiting.popleft().size
        self._decoder.start_at(self._waiting[0].pts)

    def _is_certain(self, time: int) -> bool:
        """Return whether all pictures up to ``time`` and the next one after it are known."""
        return self._ended or (len(self._times) >= _REORDER and time < self._times[-_REORDER])

    def _feed(self) -> None:
        packet = self._waiting.popleft()
        self._waiting_bytes -= packet.size
        pts = packet.pts or 0
        needed = not packet.is_discard and (not self._is_certain(pts) or self._is_wanted(pts))
        if needed:
            self._kept.add(pts)
        self._deadline.check()
        self._catch(self._decoder.decode(packet, needed))
        if not packet.is_discard:
            self._fed_to[pts] = None

    def _is_wanted(self, pts: int) -> bool:
        index = bisect_left(self._limits, pts)
        after = bisect_right(self._times, pts)
        until = self._times[after] if after < len(self._times) else None
        return index < len(self._limits) and (until is None or self._limits[index] < until)

    def _catch(self, frames: list[VideoFrame]) -> None:
        for frame in frames:
            if frame.pts is not None and frame.pts in self._kept:
                self._kept.discard(frame.pts)
                self._frames[frame.pts] = frame

    def _drain(self, due: list[int] | None = None) -> None:
        """Get what the decoder holds; afterwards it must start at a key frame."""
        self._catch(self._decoder.drain())
        due = self._targets[self._given :] if due is None else due
        if any(target not in self._frames for target in due):
            raise UnorderedPackets

    def _drop_waiting(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0
        self._kept.clear()

    def _ready(self) -> Iterator[TimedFrame]:
        numerator, denominator = self._video.seconds_a_tick
        while self._is_ready():
            target, self._given = self._targets[self._given], self._given + 1
            for older in [pts for pts in self._frames if pts < target]:
                del self._frames[older]
            yield TimedFrame(self._frames[target], (target - self._zero) * numerator / denominator)

    def _forget(self) -> None:
        """Drop times that lie before everything still wanted."""
        if len(self._times) < 8 * _REORDER or len(self._targets) == len(self._limits):
            return
        keep_from = bisect_right(self._times, self._limits[len(self._targets)]) - 1
        keep_from = min(keep_from, len(self._times) - 2 * _REORDER)
        if keep_from > 0:
            floor = self._times[keep_from]
            del self._times[:keep_from]
            self._fed_to = {pts: None for pts in self._fed_to if pts >= floor}

    def _end(self) -> None:
        numerator, denominator = self._video.seconds_a_tick
        tick = numerator / denominator
        damaged = self._decoder.is_damaged or self._video.is_cut_short
        if not self._times or damaged:
            raise UnorderedPackets
        last = self._times[-1]
        end = self._last_end if self._last_end > last else last + 1 / (self._video.fps * tick)
        self.end_s = (end - self._zero) * tick
        declared = self._video.declared_s
        wants_more = bool(self._limits) and self._limits[-1] >= end
        if wants_more and declared is not None and declared - self.end_s > short_by_s(self._video):
            raise UnorderedPackets  # the file may be cut short: decoding everything finds the loss
        self._ended = True

    def _maybe_seek(self, packet: VideoPacket) -> None:
        done = len(self._targets)
        if not self._seek or self._ended or done == len(self._limits):
            return
        numerator, denominator = self._video.seconds_a_tick
        ahead = int(_SEEK_AHEAD_S * denominator / numerator)
        limit = self._limits[done]
        if limit - (packet.pts or 0) < ahead or limit == self._sought:
            return
        self._sought = limit
        self._drain()
        self._drop_waiting()
        self._times.clear()
        self._fed_to.clear()
        for back in (0, ahead // 4, 3 * ahead):
            aim = max(limit - back, self._zero)
            self._video.container.seek(aim, stream=self._video.stream)
            packets = self._video.packets()
            first = next(packets, None)
            if first is not None and first.is_keyframe and (first.pts or 0) <= limit:
                self._decoder.start_at(first.pts)
                self._packets = chain([first], packets)
                return
        raise UnorderedPackets

"""A decoder that gives up at the first sign of damage, and may start at any key frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from av.video.frame import PictureType

from vlar.video.container import Opened
from vlar.video.picture_order import forgets

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# FFmpeg reports this where a decoder starts at a key frame that is not the first of all and no IDR
# picture: the stream names frames before it that were rightly left out.
_OF_A_LATE_START = "mmco: unref short failure"


class Unordered(Exception):  # noqa: N818 - a signal that never leaves this package
    """The packets do not show which picture stands when; only decoding everything does."""


def has_picture_types(video: Opened) -> bool:
    """Whether the decoder marks key frames in what it gives; libvpx marks only packets."""
    return not video.decoder.name.startswith("libvpx")


class StrictDecoder:
    """Decodes packets of an open file; every method raises ``Unordered`` at a sign of damage.

    All frames that leave it are tested, also those that nobody wants: the wanted ones refer to
    them.

    Attributes:
        zero: The presentation time of the first picture of the file.
    """

    def __init__(self, video: Opened) -> None:
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
            raise Unordered
        return self._tested(packet)

    def drain(self) -> list[VideoFrame]:
        """What the decoder still holds; afterwards it must start at a key frame."""
        if not self._dirty:
            return []
        frames = self._tested(None)
        self._context.flush_buffers()
        self._dirty = False
        if self._started_at is not None:
            raise Unordered
        return frames

    def _tested(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        frames = self._video.decode(packet)
        if self.is_damaged:
            if not self._is_excused(packet):
                raise Unordered
            self._excused = self._video.errors.count
        for frame in frames:
            pts = frame.pts
            if pts is None:
                raise Unordered
            if self._started_at is not None and pts >= self._started_at:
                # With intra refresh a frame is marked as a key frame, and is whole only later.
                is_key = frame.pict_type == PictureType.I or not self._gives_types
                if pts > self._started_at or not is_key:
                    raise Unordered
                self._started_at = None
            if frame.is_corrupt and (self._whole_from is None or pts >= self._whole_from):
                raise Unordered
        return frames

    def _is_excused(self, packet: Packet[VideoStream] | None) -> bool:
        """Whether errors show a late start and no damage."""
        if packet is None or not self._started_late:
            return False
        if packet.pts is not None and packet.pts < (self._whole_from or self.zero):
            return True
        if not all(_OF_A_LATE_START in message for message in self._video.errors.latest):
            return False
        first = self._started_with
        return first is None or not forgets(first, self._context.extradata or b"")

"""Decoded frames that may be damaged."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING

from av.video.frame import PictureType

if TYPE_CHECKING:
    from av import VideoFrame

LOOK_BACK = 4
"""Packets before a bad one whose frames are suspect too, if no key frame lies between."""
_MOST_REMEMBERED = 1024
_REFERS = frozenset({PictureType.P, PictureType.B, PictureType.S})


class DamageAccount:
    """Follows damage from packets to the frames that refer to them.

    Packets are numbered in decoding order. A frame is suspect where its own packet is bad, or
    where a bad packet or a hole lies between it and the last whole key frame that was shown. So
    is one shortly before a bad packet: an arithmetic decoder that lost its way often decodes
    rubbish for some frames before it meets a value that cannot be.

    Args:
        gives_types: The decoder marks key frames; otherwise the packets' marks count.
    """

    def __init__(self, gives_types: bool) -> None:
        self.last_order = -1
        self._gives_types = gives_types
        self._orders: dict[int, int] = {}
        self._keys: set[int] = set()
        self._bad: list[float] = []
        self._alone: set[int] = set()
        self._holes: list[float] = []
        self._key_order = -1.0

    @property
    def starts_bad(self) -> bool:
        """Whether the very first packet is bad."""
        return bool(self._bad) and self._bad[0] <= 0

    def add_packet(self, stamp: int | None, is_key: bool) -> None:
        """The next packet in decoding order."""
        self.last_order += 1
        if is_key:
            self._keys.add(self.last_order)
        if stamp is not None:
            self._orders[stamp] = self.last_order
            if len(self._orders) > 2 * _MOST_REMEMBERED:
                self._forget(self.last_order - _MOST_REMEMBERED)

    def _forget(self, before: int) -> None:
        self._orders = {stamp: index for stamp, index in self._orders.items() if index >= before}
        self._keys = {key for key in self._keys if key >= before}

    def add_hole(self) -> None:
        """Record that data is missing between the last packet and the next one."""
        hole = self.last_order + 0.5
        insort(self._bad, hole)
        self._holes.append(hole)

    def add_bad(self, order: int, *, others_refer: bool = True) -> None:
        """The packet ``order`` is damaged; ``others_refer``: frames after it may use its frame."""
        if others_refer:
            insort(self._bad, order)
        else:
            self._alone.add(order)

    def order_of(self, stamp: int | None) -> int:
        """The number of the packet with a time stamp; the latest one where none has it."""
        return self._orders.get(stamp, self.last_order) if stamp is not None else self.last_order

    def is_suspect(self, frame: VideoFrame, order: int) -> bool:
        """Return whether a frame that just left the decoder may be wrong. Call it once a frame."""
        if not self._bad and not self._alone:
            if self._is_key(frame, order):
                self._key_order = order
            return False
        index = bisect_right(self._bad, order)
        bad_itself = order in self._alone or (index > 0 and self._bad[index - 1] == order)
        if self._is_key(frame, order):
            if not bad_itself:
                self._key_order = order
            return bad_itself
        return bad_itself or (index > 0 and self._bad[index - 1] > self._key_order)

    def turned_bad(self, order: int) -> bool:
        """Return whether a packet shortly after ``order`` proved bad, with no key frame between."""
        index = bisect_right(self._bad, order)
        if index == len(self._bad) or self._bad[index] > order + LOOK_BACK:
            return False
        bad = self._bad[index]
        return not any(order < key <= bad for key in self._keys)

    def has_bad(self, after: int, until: int) -> bool:
        """Return whether a packet or a hole between two packets is bad, these included."""
        index = bisect_left(self._bad, after)
        return index < len(self._bad) and self._bad[index] <= until

    def has_hole(self, after: int, until: int) -> bool:
        """Return whether a hole lies between two packets."""
        if not self._holes:
            return False
        return any(after < hole <= until for hole in self._holes[-_MOST_REMEMBERED:])

    def _is_key(self, frame: VideoFrame, order: int) -> bool:
        if not self._gives_types:
            return order in self._keys
        # With intra refresh a frame is marked as a key frame, and is whole only frames later.
        return frame.key_frame and frame.pict_type not in _REFERS

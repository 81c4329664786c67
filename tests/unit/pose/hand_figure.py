"""A hand that is drawn from a few numbers, for tests of hand attributes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vlar.pose.hand_motion import HandsMotion, prepare_hands
from vlar.pose.hand_networks import HandTracks

S = 12
TIME = np.linspace(0, 1, S)
ASPECT = 4 / 3
_SPREAD_DEG = (-50.0, -15.0, 0.0, 15.0, 30.0)  # of thumb, index, ... from the middle of the hand
_REACH = ((0.4, 0.6, 0.8, 1.0), *((1.0, 1.35, 1.6, 1.85),) * 4)  # of its joints
_CURLED = (1.0, 1.2, 1.05, 0.85)


@dataclass(frozen=True)
class DrawnHand:
    """A hand over S frames; numbers or (S,) arrays.

    Attributes:
        x: Place of the wrist, frame heights.
        y: Place of the wrist, frame heights.
        stretch: 1 is a flat hand, 0 a fist.
        index: The same of the index finger; None for ``stretch``.
        pinch: 1 puts the tip of the thumb on that of the index finger.
        turn: -1 .. 1, the side that is seen.
        length: Of the palm, frame heights.
        seen: (S,) frames in which it is detected.
    """

    x: Any = 0.5
    y: Any = 0.6
    stretch: Any = 1.0
    index: Any = None
    pinch: Any = 0.0
    turn: Any = 1.0
    length: float = 0.15
    seen: Any = True

    def points(self) -> np.ndarray:
        """(S, 21, 3)."""
        found = np.zeros((S, 21, 3))
        stretch = np.broadcast_to(self.stretch, S)
        for finger, (degrees, reach) in enumerate(zip(_SPREAD_DEG, _REACH, strict=True)):
            own = stretch if finger != 1 or self.index is None else np.broadcast_to(self.index, S)
            angle = np.radians(degrees)
            for joint in range(4):
                curled = _CURLED[joint] if finger else reach[joint] * 0.8
                away = own * reach[joint] + (1 - own) * curled
                at = 1 + 4 * finger + joint
                found[:, at, 0] = away * np.sin(angle) * np.broadcast_to(self.turn, S)
                found[:, at, 1] = -away * np.cos(angle)
        share = np.broadcast_to(self.pinch, S)[:, None]
        found[:, 4] = share * found[:, 8] + (1 - share) * found[:, 4]
        found *= self.length
        found[..., 0] += np.broadcast_to(self.x, S)[:, None]
        found[..., 1] += np.broadcast_to(self.y, S)[:, None]
        return found

    def mirrored(self) -> DrawnHand:
        """In the mirror image."""
        return replace(self, x=ASPECT - np.asarray(self.x), turn=-np.asarray(self.turn))


def hands_of(
    *hands: DrawnHand, right: float = 1.0, face: np.ndarray | None = None, scene: Any = 0.5
) -> HandsMotion | None:
    """What the attributes read."""
    seen = np.stack([np.broadcast_to(hand.seen, S) for hand in hands]).astype(np.float32)
    points = np.stack([hand.points() for hand in hands]).astype(np.float32) * seen[..., None, None]
    tracks = HandTracks(points, seen, seen * np.float32(right))
    colours = np.broadcast_to(scene, (S, 8, 8, 3)).astype(np.float32)
    return prepare_hands(tracks, ASPECT, colours, face)

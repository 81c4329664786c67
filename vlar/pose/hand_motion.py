"""The hands of one clip, ready to measure: paths, sizes, fingers, and what is in the grasp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.pose import signals
from vlar.pose.hand_networks import WRIST, HandTracks
from vlar.pose.skeletons import HAND_21
from vlar.types import Float32

Points = npt.NDArray[np.floating[Any]]

FINGERS = ("index", "middle", "ring", "little")
THUMB_TIP, INDEX_TIP = HAND_21.index("thumb_tip"), HAND_21.index("index_tip")
BASES = tuple(HAND_21.index(f"{finger}_base") for finger in FINGERS)
TIPS = tuple(HAND_21.index(f"{finger}_tip") for finger in FINGERS)
PALM = (WRIST, BASES[0], BASES[1], BASES[3])

_LEAST_FRAMES = 2  # frames with a hand, of those that were looked at
_SMALL_PALM, _LARGE_PALM = 0.05, 0.10  # frame heights; too short to measure, and long enough
_SURE_FRAMES = 3  # with a hand, from which it is fully trusted


@dataclass(frozen=True)
class HandMotion:
    """One hand over the S frames that were looked at.

    Attributes:
        points: (S, 21, 3) float64: x to the right, y down and depth, in frame heights; in frames
            without a detection those between, or the nearest.
        known: (S,) True for frames with a detection.
        right: Probability of a right hand.
    """

    points: Points
    known: npt.NDArray[np.bool_]
    right: float

    @cached_property
    def first(self) -> int:
        """The first frame with a detection."""
        return int(np.flatnonzero(self.known)[0])

    @cached_property
    def last(self) -> int:
        """The last frame with a detection."""
        return int(np.flatnonzero(self.known)[-1])

    @property
    def span(self) -> slice:
        """Slice from the first to the last detection."""
        return slice(self.first, self.last + 1)

    @cached_property
    def length(self) -> float:
        """Length of the palm, from the wrist to the middle finger, in frame heights (median)."""
        return float(np.median(self.lengths[self.known]))

    @cached_property
    def lengths(self) -> Points:
        """(S,) length of the palm; in depth too, so that a hand seen from its side is not short."""
        return np.linalg.norm(self.points[:, BASES[1]] - self.points[:, WRIST], axis=-1) + 1e-6

    @cached_property
    def palm(self) -> Points:
        """(S, 2) middle of the palm."""
        return self.points[:, list(PALM), :2].mean(axis=1)

    @cached_property
    def tip(self) -> Points:
        """(S, 2) tip of the index finger."""
        return self.points[:, INDEX_TIP, :2]

    @cached_property
    def grasp(self) -> Points:
        """(S, 2) between the thumb and the fingers: what is held is here."""
        fingers = self.points[:, list(TIPS[:2]), :2].mean(axis=1)
        return (fingers + self.points[:, THUMB_TIP, :2]) / 2

    @cached_property
    def extension(self) -> Points:
        """(S, 4) how far each finger is stretched: tip to wrist over its base to wrist."""
        wrist = self.points[:, WRIST : WRIST + 1]
        reach = np.linalg.norm(self.points[:, list(TIPS)] - wrist, axis=-1)
        base = np.linalg.norm(self.points[:, list(BASES)] - wrist, axis=-1)
        return reach / (base + 1e-6)

    @cached_property
    def openness(self) -> Points:
        """(S,) mean of ``extension``: about 1 is a fist, 1.9 a flat hand."""
        return self.extension.mean(axis=1)

    @cached_property
    def pinch(self) -> Points:
        """(S,) distance of the tips of thumb and index finger, in palm lengths."""
        apart = self.points[:, THUMB_TIP] - self.points[:, INDEX_TIP]
        return np.linalg.norm(apart, axis=-1) / self.lengths

    @cached_property
    def facing(self) -> Points:
        """(S,) which side is seen, -1 .. 1: + the palm, - the back, 0 its edge."""
        index = self.points[:, BASES[0], :2] - self.points[:, WRIST, :2]
        little = self.points[:, BASES[3], :2] - self.points[:, WRIST, :2]
        area = index[:, 0] * little[:, 1] - index[:, 1] * little[:, 0]
        side = 1.0 if self.right > 0.5 else -1.0
        return np.clip(-side * area / (0.5 * self.lengths**2), -1, 1)

    @cached_property
    def up(self) -> Points:
        """(S,) direction of the hand: + the fingers point up, - down, 0 to the side."""
        along = self.points[:, BASES[1], :2] - self.points[:, WRIST, :2]
        return -along[:, 1] / (np.linalg.norm(along, axis=-1) + 1e-6)


@dataclass(frozen=True)
class HandsMotion:
    """The hands of a clip.

    Attributes:
        hands: One or two, the one that is seen most first.
        n_frames: S, the frames that were looked at.
        aspect: Width over height of the frame.
        scene: (S, G, G, 3) float32 colours of the frames in G x G cells, 0 to 1.
        face: (S, 4, 2) mouth, middle of the eyes, the ear in view and nose of the person, in frame
            heights, NaN where they are not seen; None without a face.
    """

    hands: tuple[HandMotion, ...]
    n_frames: int
    aspect: float
    scene: Float32
    face: Points | None = None

    @property
    def main(self) -> HandMotion:
        """The hand that is seen most."""
        return self.hands[0]

    @cached_property
    def any_known(self) -> npt.NDArray[np.bool_]:
        """(S,) frames with a hand."""
        return np.any([hand.known for hand in self.hands], axis=0)

    @cached_property
    def both_known(self) -> npt.NDArray[np.bool_]:
        """(S,) frames with two hands."""
        return np.all([hand.known for hand in self.hands], axis=0) & (len(self.hands) > 1)

    @cached_property
    def visible(self) -> float:
        """Measurability of the hands, 0 to 1: in enough frames, near the camera."""
        largest = max(hand.length for hand in self.hands)
        near = np.clip((largest - _SMALL_PALM) / (_LARGE_PALM - _SMALL_PALM), 0, 1)
        return float(near * min(1.0, self.any_known.sum() / _SURE_FRAMES))

    @cached_property
    def apart(self) -> Points:
        """Distance of the two palms in the frames with both, in palm lengths."""
        a, b = self.hands
        away = np.linalg.norm(a.palm - b.palm, axis=-1)[self.both_known]
        return away / ((a.length + b.length) / 2)

    def cells(self, place: Points, frame: int, half: float) -> Points:
        """(n, 3) colours of a frame's cells around a place, ``half`` frame heights to each side."""
        size = self.scene.shape[1]
        columns = (np.arange(size) + 0.5) / size * self.aspect
        rows = (np.arange(size) + 0.5) / size
        near = (np.abs(rows - place[1]) <= half)[:, None] & (np.abs(columns - place[0]) <= half)
        return self.scene[frame][near]


def prepare_hands(
    tracks: HandTracks, aspect: float, scene: Float32, face: Points | None = None
) -> HandsMotion | None:
    """The hands of a clip; None where none is seen in two frames.

    Args:
        tracks: Tracks of the S frames that were looked at.
        aspect: Width over height of the frame.
        scene: (S, G, G, 3) colours, 0 to 1.
        face: (S, 4, 2) places of the face, NaN where it is not seen; None without a face.
    """
    motions: list[HandMotion] = []
    for points, score, right in zip(tracks.points, tracks.score, tracks.right, strict=True):
        visible = score > 0
        if visible.sum() >= _LEAST_FRAMES:
            filled = signals.fill_gaps(points.astype(np.float64), visible)
            motions.append(HandMotion(filled, visible, float(np.median(right[visible]))))
    if not motions:
        return None
    n_frames = tracks.score.shape[1]
    return HandsMotion(tuple(motions), n_frames, aspect, scene, face)


def strongest(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the measurement with the largest magnitude."""
    return max(values, key=lambda pair: abs(pair[0]) * pair[1])

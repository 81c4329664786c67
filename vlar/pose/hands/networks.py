"""The two hand networks at run time: palms in a frame, and the 21 points of a hand in a region.

Zhang et al. 2020, "MediaPipe Hands". A single-shot detector finds palms, which are rigid and nearly
square, with seven points each. The landmark network reads an upright square crop around the whole
hand and gives 21 points, the probability of a hand and which hand it is. Sizes, ranges, anchors and
the crops' scales are those of the graphs in the pinned wheel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.pose.networks import BoxDetector, Region, crop
from vlar.pose.onnx_session import CachedNetwork
from vlar.pose.skeletons import HAND_21
from vlar.types import Float32

N_POINTS = len(HAND_21.joints)
WRIST = HAND_21.index("wrist")
_BASES = tuple(HAND_21.index(f"{name}_base") for name in ("index", "middle", "ring"))
_BASE_WEIGHTS = np.array([0.25, 0.5, 0.25])
# Fingers open and close, the points up to their second joint hardly move.
_STEADY = tuple(
    HAND_21.index(name)
    for name in (
        *("wrist", "thumb_base", "thumb_knuckle", "thumb_joint", "index_base", "index_knuckle"),
        *("middle_base", "middle_knuckle", "ring_base", "ring_knuckle"),
        *("little_base", "little_knuckle"),
    )
)
_PALM_SIZE, _CROP_SIZE = 192, 224
_LAYERS = ((8, 2), (16, 6))  # stride and anchors per cell
_PALM_POINTS = (4, 6, 8, 10, 12, 14, 16)  # columns of their x
_PALM_WRIST, _PALM_MIDDLE = 4, 8
_PALM_SCALE, _PALM_SHIFT = 2.6, -0.5  # of the whole hand's crop over the palm's box
_HAND_SCALE, _HAND_SHIFT = 2.0, -0.1  # of the next crop over the steady points' box


@dataclass(frozen=True)
class Hand:
    """One hand in one frame.

    Attributes:
        points: (21, 3) float32: x and y in pixels, and the depth relative to the wrist in pixels
            (negative is nearer to the camera).
        score: Probability of a hand.
        right: Probability of a right hand, in a picture that is not a mirror image.
        next_region: Region of the hand for the next frame.
    """

    points: Float32
    score: float
    right: float
    next_region: Region


class PalmDetector(BoxDetector):
    """Finds palms in a frame, or in a square part of it."""

    size, layers, offsets = _PALM_SIZE, _LAYERS, (0, *_PALM_POINTS)

    def __call__(
        self, image: Any, threshold: float, square: tuple[float, float, float] | None = None
    ) -> list[Region]:
        """Regions of whole hands in a PIL image, best first; arguments as for ``boxes``."""
        rows, side, corner = self.boxes(image, threshold, square)
        return [_palm_region(row * side, np.array(corner)) for row in rows]


class HandLandmarks:
    """Finds the points of a hand in a region of a frame."""

    def __init__(self, network: CachedNetwork) -> None:
        self._network = network

    def __call__(self, image: Any, region: Region) -> Hand:
        """The hand in ``region`` of a PIL image; a low ``score`` means that there is none."""
        pixels, turn, corner = crop(image, region, _CROP_SIZE)
        outputs = ["Identity", "Identity_1", "Identity_2"]
        rows, score, right = self._network.run(outputs, {"image": pixels[None]})
        rows = rows.reshape(N_POINTS, 3)
        places = rows[:, :2] @ turn + corner
        depth = rows[:, 2:] * (max(region.size, 1.0) / _CROP_SIZE)
        points = np.concatenate([places, depth], axis=1).astype(np.float32)
        return Hand(points, float(score[0, 0]), float(right[0, 0]), _hand_region(places))


def wrist_region(wrist: npt.NDArray[Any], knuckles: npt.NDArray[Any]) -> Region:
    """Region of a hand from points of a body: its wrist (2,) and its knuckles (2,), pixels."""
    length = float(np.hypot(*(knuckles - wrist)))
    return _shifted(knuckles, _BODY_SCALE * length, _upright(wrist, knuckles), 0.0)


_BODY_SCALE = 4.0  # of a hand's crop over the distance from the wrist to the knuckles


def _palm_region(row: Float32, corner: npt.NDArray[Any]) -> Region:
    wrist, middle = row[_PALM_WRIST : _PALM_WRIST + 2], row[_PALM_MIDDLE : _PALM_MIDDLE + 2]
    side = float(max(row[2], row[3]))
    return _shifted(row[:2] + corner, side, _upright(wrist, middle), _PALM_SHIFT, _PALM_SCALE)


def _hand_region(places: npt.NDArray[Any]) -> Region:
    angle = _upright(places[WRIST], _BASE_WEIGHTS @ places[list(_BASES)])
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])  # rows of points to the upright frame
    upright = places[list(_STEADY)] @ turn
    low, high = upright.min(axis=0), upright.max(axis=0)
    side = float((high - low).max())
    return _shifted((low + high) / 2 @ turn.T, side, angle, _HAND_SHIFT, _HAND_SCALE)


def _upright(wrist: npt.NDArray[Any], middle: npt.NDArray[Any]) -> float:
    """The angle (radians, clockwise) by which a hand is turned from pointing up."""
    dx, dy = (float(v) for v in middle - wrist)
    return float(np.arctan2(dx, -dy))


def _shifted(
    middle: npt.NDArray[Any], side: float, angle: float, shift: float, scale: float = 1.0
) -> Region:
    """A region, moved by ``shift`` sides down along the hand (so negative is to the fingers)."""
    x = float(middle[0]) - shift * side * float(np.sin(angle))
    y = float(middle[1]) + shift * side * float(np.cos(angle))
    return Region(x, y, side * scale, angle)

"""Tracks of hands: palms are looked for in some frames, hands followed forwards and backwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.pose.networks import BoxDetector, Crop, crop, to_image
from vlar.pose.onnx import CachedNetwork
from vlar.pose.skeletons import HAND_21
from vlar.pose.track import Followed, join
from vlar.types import Float32, UInt8

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
    next_region: Crop


class PalmDetector(BoxDetector):
    """Finds palms in a frame, or in a square part of it."""

    size, layers, offsets = _PALM_SIZE, _LAYERS, (0, *_PALM_POINTS)

    def __call__(
        self, image: Any, threshold: float, square: tuple[float, float, float] | None = None
    ) -> list[Crop]:
        """Regions of whole hands in a PIL image, best first; arguments as for ``boxes``."""
        rows, side, corner = self.boxes(image, threshold, square)
        return [_palm_region(row * side, np.array(corner)) for row in rows]


class HandLandmarks:
    """Finds the points of a hand in a region of a frame."""

    def __init__(self, network: CachedNetwork) -> None:
        self._network = network

    def __call__(self, image: Any, region: Crop) -> Hand:
        """The hand in ``region`` of a PIL image; a low ``score`` means that there is none."""
        pixels, turn, corner = crop(image, region, _CROP_SIZE)
        outputs = ["Identity", "Identity_1", "Identity_2"]
        rows, score, right = self._network.run(outputs, {"image": pixels[None]})
        rows = rows.reshape(N_POINTS, 3)
        places = rows[:, :2] @ turn + corner
        depth = rows[:, 2:] * (max(region.size, 1.0) / _CROP_SIZE)
        points = np.concatenate([places, depth], axis=1).astype(np.float32)
        return Hand(points, float(score[0, 0]), float(right[0, 0]), _hand_region(places))


def wrist_region(wrist: npt.NDArray[Any], knuckles: npt.NDArray[Any]) -> Crop:
    """Region of a hand from points of a body: its wrist (2,) and its knuckles (2,), pixels."""
    length = float(np.hypot(*(knuckles - wrist)))
    return _shifted(knuckles, _BODY_SCALE * length, _upright(wrist, knuckles), 0.0)


_BODY_SCALE = 4.0  # of a hand's crop over the distance from the wrist to the knuckles


def _palm_region(row: Float32, corner: npt.NDArray[Any]) -> Crop:
    wrist, middle = row[_PALM_WRIST : _PALM_WRIST + 2], row[_PALM_MIDDLE : _PALM_MIDDLE + 2]
    side = float(max(row[2], row[3]))
    return _shifted(row[:2] + corner, side, _upright(wrist, middle), _PALM_SHIFT, _PALM_SCALE)


def _hand_region(places: npt.NDArray[Any]) -> Crop:
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
) -> Crop:
    """A region, moved by ``shift`` sides down along the hand (so negative is to the fingers)."""
    x = float(middle[0]) - shift * side * float(np.sin(angle))
    y = float(middle[1]) + shift * side * float(np.cos(angle))
    return Crop(x, y, side * scale, angle)


MAX_HANDS = 2
_PALM, _HAND = 0.3, 0.5  # least probabilities; the second network rejects what is not a hand
_LOOKS = 8  # frames of a clip in which palms are looked for, while there is room for more hands
_SMALLEST = 12.0  # pixels; a smaller region holds no hand
_OUTSIDE = 0.2  # share of the frame; a hand whose middle is farther out has left
_GAP = 3  # frames between two parts of one track
_REACH = 0.8  # region sizes that a hand may move over a gap


@dataclass(frozen=True)
class HandTracks:
    """K hands over T frames.

    Attributes:
        points: (K, T, 21, 3) float32: x and y in frame heights (x runs to the aspect ratio) and the
            depth relative to the wrist in the same unit; zeros without a detection.
        score: (K, T) float32 probability of a hand; 0 without a detection.
        right: (K, T) float32 probability of a right hand.
    """

    points: Float32
    score: Float32
    right: Float32


class HandTracker:
    """Follows up to two hands through a clip.

    Palms are looked for in eight frames, while there is room for more hands. A clip without a palm
    in these frames costs their detection alone.
    """

    def __init__(self, palms: PalmDetector, landmarks: HandLandmarks) -> None:
        self._palms, self._landmarks = palms, landmarks

    def __call__(
        self, frames: Sequence[UInt8], wrists: Sequence[Sequence[Crop]] | None = None
    ) -> HandTracks:
        """The hands of a clip; K may be 0.

        Args:
            frames: (H, W, 3) uint8 RGB, in time order.
            wrists: Regions at the wrists of a tracked body in each frame, which are tried before
                palms are looked for.
        """
        images = [to_image(frame) for frame in frames]
        tracks: list[Followed[Hand]] = []
        going: list[Followed[Hand]] = []
        looks = set(np.linspace(0, len(images) - 1, min(len(images), _LOOKS)).round().tolist())
        for now, image in enumerate(images):
            before, going = going, []
            for track in before:
                hand = self._read(image, track.found[now - 1].next_region)
                if hand and not _taken(hand.next_region, going, now):
                    track.found[now] = hand
                    going.append(track)
            if len(going) < MAX_HANDS and now in looks:
                hands = self._found(image, going, now, wrists[now] if wrists else ())
                for track in hands:
                    self._backward(images, track, now, [*tracks, *hands])
                tracks += hands
                going += hands
        joined = sorted(join(tracks, _GAP, _REACH), key=Followed.presence, reverse=True)
        height = images[0].size[1] if images else 1
        return _to_arrays(joined[:MAX_HANDS], len(images), height)

    def _found(
        self, image: Any, going: Sequence[Followed[Hand]], now: int, wrists: Sequence[Crop]
    ) -> list[Followed[Hand]]:
        hands: list[Followed[Hand]] = []
        for look in (lambda: wrists, lambda: self._palms(image, _PALM)):
            if len(going) + len(hands) >= MAX_HANDS:
                break
            for region in look():
                followed = [*going, *hands]
                if len(followed) >= MAX_HANDS or _taken(region, followed, now):
                    continue
                hand = self._read(image, region)
                if hand and not _taken(hand.next_region, followed, now):
                    hands.append(Followed({now: hand}))
        return hands

    def _backward(
        self,
        images: Sequence[Any],
        track: Followed[Hand],
        start: int,
        others: Sequence[Followed[Hand]],
    ) -> None:
        others = [other for other in others if other is not track]
        region = track.found[start].next_region
        for now in range(start - 1, -1, -1):
            hand = None if _taken(region, others, now) else self._read(images[now], region)
            if hand is None or _taken(hand.next_region, others, now):
                return
            track.found[now] = hand
            region = hand.next_region

    def _read(self, image: Any, region: Crop) -> Hand | None:
        if not region.inside(image.size, _OUTSIDE) or region.size < _SMALLEST:
            return None
        hand = self._landmarks(image, region)
        return hand if hand.score >= _HAND else None


def _taken(region: Crop, tracks: Sequence[Followed[Hand]], now: int) -> bool:
    return any(now in t.found and region.near(t.found[now].next_region) for t in tracks)


def _to_arrays(tracks: Sequence[Followed[Hand]], n_frames: int, height: int) -> HandTracks:
    points = np.zeros((len(tracks), n_frames, N_POINTS, 3), np.float32)
    score = np.zeros((len(tracks), n_frames), np.float32)
    right = np.zeros_like(score)
    for row, track in enumerate(tracks):
        for now, hand in track.found.items():
            points[row, now], score[row, now] = hand.points, hand.score
            right[row, now] = hand.right
    points /= np.float32(height)
    return HandTracks(points, score, right)

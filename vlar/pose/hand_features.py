"""Hands as frame features, from which all hand attributes of a clip can be computed.

Each row is one frame: whether it was looked at, up to two hands (21 points, probability, side), the
face of the person next to them, the colours of the frame in 8 x 8 cells, its time and the aspect
ratio. Hands are looked for only where a body does not fill the motion vector: nobody is seen, or a
part of a body near the camera. Elsewhere all rows are zero.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vlar.pose import networks
from vlar.pose.attributes.base import HandMeasurements, measure_hands
from vlar.pose.body import L_EAR, MOUTH, NOSE, R_EAR, SKELETON, WRISTS
from vlar.pose.features import measure_features
from vlar.pose.hand_motion import HandsMotion, prepare_hands
from vlar.pose.hand_networks import (
    MAX_HANDS,
    N_POINTS,
    HandLandmarks,
    HandTracker,
    HandTracks,
    PalmDetector,
    wrist_region,
)
from vlar.pose.networks import N_POINTS as BODY_POINTS
from vlar.pose.networks import Crop
from vlar.types import Float32, Float64, UInt8

# Version of the numbers that this package and the attributes of hands compute for given frames.
VERSION = 1
MOST_FRAMES = 12  # of a clip that are looked at
_CELLS = 8
_HAND = N_POINTS * 3 + 2
_FACE_PLACES = 4
_FACE = 1 + MAX_HANDS * _HAND
_SCENE = _FACE + 1 + 2 * _FACE_PLACES
_TIME = _SCENE + 3 * _CELLS * _CELLS
HANDS_WIDTH = _TIME + 2
_PERSON = BODY_POINTS * 3 + 1
SEEN_BODY = 0.75  # visible share of a body from which hands are not looked for
_LEAST_BODY = 0.1  # visible body from which its wrists and face are used
_VISIBLE = 0.5  # least probability of a body and of its joints
_EYES = (SKELETON.index("left_eye"), SKELETON.index("right_eye"))
_KNUCKLES = [
    (SKELETON.index(f"{side}_index"), SKELETON.index(f"{side}_pinky")) for side in ("left", "right")
]


class HandReader:
    """Computes frame features of clips with the hand networks of ``lite-motion``.

    Raises:
        ModelError: the networks are not installed, or their files changed.
    """

    def __init__(self) -> None:
        palms = networks.network(networks.PALMS)
        landmarks = networks.network(networks.HAND_LANDMARKS)
        self._tracker = HandTracker(PalmDetector(palms), HandLandmarks(landmarks))

    def features(self, frames: UInt8, times_s: Float64, bodies: Float32) -> Float32:
        """The frame features of a clip.

        Args:
            frames: (T, H, W, 3) uint8 RGB, in time order.
            times_s: (T,) float64 times of the frames, seconds.
            bodies: (T, POSE_WIDTH) float32 of the same frames (``vlar.pose.features``).

        Returns:
            (T, HANDS_WIDTH) float32; zeros without a hand, and where a whole body is seen.
        """
        rows = np.zeros((len(frames), HANDS_WIDTH), np.float32)
        visible_body = measure_features(bodies).visible_body
        looked = frames_to_look_at(frames) if visible_body < SEEN_BODY else []
        if len(looked) < 2:
            return rows
        height, width = frames.shape[1:3]
        # The networks place bodies on hands too, whose wrists and faces are elsewhere.
        bodies = bodies[looked] * (visible_body >= _LEAST_BODY)
        wrists = [_wrists(row, height) for row in bodies]
        tracks = self._tracker([frames[index] for index in looked], wrists)
        if not tracks.score.any():
            return rows
        for hand in range(len(tracks.score)):
            begin = 1 + hand * _HAND
            rows[looked, begin : begin + _HAND - 2] = tracks.points[hand].reshape(len(looked), -1)
            rows[looked, begin + _HAND - 2] = tracks.score[hand]
            rows[looked, begin + _HAND - 1] = tracks.right[hand]
        rows[looked, 0] = 1
        rows[looked, _FACE:_SCENE] = [_face(row) for row in bodies]
        rows[looked, _SCENE:_TIME] = [_cells(frames[index]) for index in looked]
        rows[:, _TIME] = times_s - times_s[0]
        rows[:, _TIME + 1] = width / height
        return rows


def frames_to_look_at(frames: UInt8) -> list[int]:
    """Indices of up to 12 frames that differ from the one before, evenly spread."""
    new = [
        index
        for index in range(len(frames))
        if not index or (frames[index] != frames[index - 1]).any()
    ]
    return new[:: max(1, -(-len(new) // MOST_FRAMES))]


def hands_from_features(features: Float32) -> HandsMotion | None:
    """The hands of frame features (T, HANDS_WIDTH); None without any."""
    rows = features[features[:, 0] > 0]
    if len(rows) < 2:
        return None
    tracks = hand_tracks(rows)
    scene = rows[:, _SCENE:_TIME].reshape(len(rows), _CELLS, _CELLS, 3)
    visible = rows[:, _FACE] > 0
    face = (
        np.where(visible[:, None], rows[:, _FACE + 1 : _SCENE], np.nan) if visible.any() else None
    )
    return prepare_hands(
        tracks,
        aspect=float(rows[0, _TIME + 1]),
        scene=scene,
        face=None if face is None else face.reshape(len(rows), _FACE_PLACES, 2),
    )


def hand_tracks(features: Float32) -> HandTracks:
    """The tracks in frame features (T, HANDS_WIDTH), without empty ones."""
    hands = features[:, 1:_FACE].reshape(len(features), MAX_HANDS, _HAND).swapaxes(0, 1)
    hands = hands[hands[..., -2].any(axis=1)]
    points = hands[..., :-2].reshape(len(hands), len(features), N_POINTS, 3)
    return HandTracks(points, hands[..., -2], hands[..., -1])


def held_tracks(features: Float32) -> HandTracks:
    """The tracks of all T frames; a frame that was not looked at repeats the one before."""
    looked = np.flatnonzero(features[:, 0] > 0)
    if not len(looked):
        return hand_tracks(features)
    last = np.searchsorted(looked, np.arange(len(features)), side="right") - 1
    return hand_tracks(features[looked[np.maximum(last, 0)]])


def measure_hand_features(features: Float32) -> HandMeasurements:
    """All hand attributes of one clip's frame features (T, HANDS_WIDTH)."""
    return _measured(np.ascontiguousarray(features, np.float32).tobytes())


def hand_vector(features: Float32) -> Float32:
    """The centred hand attributes of a clip; its norm is how well hands are seen, 0 to 1."""
    measured = measure_hand_features(features)
    away = measured.centred()
    length = float(np.linalg.norm(away))
    scale = measured.visible / length if length > 0 else 1.0
    return np.asarray(away * np.float32(scale), np.float32)


@lru_cache(maxsize=256)
def _measured(data: bytes) -> HandMeasurements:
    rows = np.frombuffer(data, np.float32).reshape(-1, HANDS_WIDTH)
    return measure_hands(hands_from_features(rows))


def _wrists(row: Float32, height: int) -> list[Crop]:
    """Regions of possible hands of the largest person, from a row of body features."""
    points = row[: _PERSON - 1].reshape(BODY_POINTS, 3)
    if row[_PERSON - 1] < _VISIBLE:
        return []
    regions: list[Crop] = []
    for wrist, knuckles in zip(WRISTS, _KNUCKLES, strict=True):
        if points[wrist, 2] >= _VISIBLE:
            middle = points[list(knuckles), :2].mean(axis=0)
            regions.append(wrist_region(points[wrist, :2] * height, middle * height))
    return regions


def _face(row: Float32) -> Float32:
    """Presence of a face, then mouth, eyes, the ear in view and nose, in frame heights."""
    points = row[: _PERSON - 1].reshape(BODY_POINTS, 3)
    face = np.zeros(1 + 2 * _FACE_PLACES, np.float32)
    if row[_PERSON - 1] < _VISIBLE or points[NOSE, 2] < _VISIBLE:
        return face
    ear = max((L_EAR, R_EAR), key=lambda joint: points[joint, 2])
    places = [points[list(MOUTH)].mean(0), points[list(_EYES)].mean(0), points[ear], points[NOSE]]
    face[0], face[1:] = 1, np.stack(places)[:, :2].ravel()
    return face


def _cells(frame: UInt8) -> Float32:
    from PIL import Image

    small = Image.fromarray(frame).resize((_CELLS, _CELLS), Image.Resampling.BOX)
    cells: Float32 = np.asarray(small).astype(np.float32).ravel()
    cells /= np.float32(255)
    return cells

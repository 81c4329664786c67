"""Bodies as frame features, from which all motion attributes of a clip can be computed.

Each row is one frame: up to three people (33 joints with x, y and visibility, and a score), the
camera's step to the next frame, the time in seconds and the aspect ratio of the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from vlar.pose import network_files
from vlar.pose.attributes.base import Measurements, measure
from vlar.pose.body import HIPS, JOINTS, LEAST_FRAMES, BodyMotion, prepare_people
from vlar.pose.camera_motion import CAMERA_WIDTH, camera_steps
from vlar.pose.networks import N_POINTS, Detector, Landmarks
from vlar.pose.track import MAX_PEOPLE, PoseTracker, Tracks
from vlar.types import Float32, Float64, UInt8

# Version of the numbers that this package computes for given frames (tracks, camera, attributes,
# spectrum). Increase it with every change: libraries and saved models would otherwise mix old
# numbers with new ones.
VERSION = 5
DEFAULT_FPS = 10.0  # of frames without times
_PERSON = N_POINTS * 3 + 1
_CAMERA = MAX_PEOPLE * _PERSON
_TIME, _ASPECT = _CAMERA + CAMERA_WIDTH, _CAMERA + CAMERA_WIDTH + 1
POSE_WIDTH = _ASPECT + 1


class PoseExtractor:
    """Computes frame features of clips with the networks of ``lite-motion``.

    Args:
        max_people: People tracked at the same time, 1 to 3.

    Raises:
        ModelError: the networks are not installed, or their files changed.
    """

    def __init__(self, max_people: int = 2) -> None:
        detector, landmarks = (
            network_files.read_network(network_files.DETECTOR),
            network_files.read_network(network_files.LANDMARKS),
        )
        self._tracker = PoseTracker(Detector(detector), Landmarks(landmarks), max_people)

    def tracks(self, frames: UInt8) -> Tracks:
        """The people of a clip (T, H, W, 3) uint8 RGB."""
        return self._tracker(frames)

    def features(self, frames: UInt8, times_s: Float64 | None = None) -> Float32:
        """The frame features of a clip.

        Args:
            frames: (T, H, W, 3) uint8 RGB, in time order.
            times_s: (T,) float64 times of the frames, seconds; None for 10 frames per second.

        Returns:
            (T, POSE_WIDTH) float32; zeros for fewer than five different frames.
        """
        rows = np.zeros((len(frames), POSE_WIDTH), np.float32)
        if _distinct(frames) < LEAST_FRAMES:  # a photo, or a video of two pictures
            return rows
        tracks = self._tracker(frames)
        for person in range(len(tracks.score)):
            begin = person * _PERSON
            rows[:, begin : begin + _PERSON - 1] = tracks.points[person].reshape(len(rows), -1)
            rows[:, begin + _PERSON - 1] = tracks.score[person]
        rows[:, _CAMERA:_TIME] = camera_steps(frames, tracks)
        times = np.arange(len(rows)) / DEFAULT_FPS if times_s is None else times_s
        rows[:, _TIME] = times - times[0]
        rows[:, _ASPECT] = frames.shape[2] / frames.shape[1]
        return rows


def _distinct(frames: UInt8) -> int:
    """Number of frames that differ from the frame before."""
    changes = sum(not np.array_equal(a, b) for a, b in pairwise(frames))
    return min(len(frames), 1) + changes


def tracks_from_features(features: Float32) -> Tracks:
    """The tracks in frame features (T, POSE_WIDTH), without empty ones."""
    people = features[:, :_CAMERA].reshape(len(features), MAX_PEOPLE, _PERSON).swapaxes(0, 1)
    people = people[people[..., -1].any(axis=1)]
    points = people[..., :-1].reshape(len(people), len(features), N_POINTS, 3)
    return Tracks(points, people[..., -1])


def people_from_features(features: Float32) -> list[BodyMotion]:
    """The people with enough detections to be measured, the actor first."""
    if len(features) < 2:
        return []
    span_s = float(features[-1, _TIME] - features[0, _TIME])
    if not span_s > 0:
        return []
    fps = (len(features) - 1) / span_s
    aspect = float(features[0, _ASPECT])
    return prepare_people(tracks_from_features(features), fps, aspect, features[:, _CAMERA:_TIME])


def measure_features(features: Float32) -> Measurements:
    """All motion attributes of one clip's frame features (T, POSE_WIDTH)."""
    return _measured(np.ascontiguousarray(features, np.float32).tobytes())[0]


def motion_vector(features: Float32) -> Float32:
    """The centred attributes of a clip: how its motion differs from that of ordinary clips.

    Args:
        features: (T, POSE_WIDTH) float32 of one clip.

    Returns:
        (A,) float32; its norm is how much of a body is visible, 0 (nobody) to 1.
    """
    measured = measure_features(features)
    away = measured.centred()
    length = float(np.linalg.norm(away))
    scale = measured.visible_body / length if length > 0 else 1.0
    return np.asarray(away * np.float32(scale), np.float32)


def spectrum(features: Float32) -> Float32:
    """Position and rhythm of the limbs, independent of when a movement starts.

    Args:
        features: (T, POSE_WIDTH) float32 of one clip.

    Returns:
        (SPECTRUM_WIDTH,) float32: for x and y of eleven joints relative to the hips, in body
        heights, the mean, twice the standard deviation and the amplitude at 0.5 to 5 Hz; zeros
        without a person. A clip and its mirror image differ.
    """
    return _measured(np.ascontiguousarray(features, np.float32).tobytes())[1]


@lru_cache(maxsize=256)
def _measured(data: bytes) -> tuple[Measurements, Float32]:
    # Pooling and the few-shot signatures need the same clip one after the other.
    people = people_from_features(np.frombuffer(data, np.float32).reshape(-1, POSE_WIDTH))
    return measure(people), _spectrum(people)


_RHYTHM_HZ = np.arange(0.5, 5.01, 0.25)
_SPECTRUM_JOINTS = tuple(joint for joint in JOINTS if joint not in HIPS)
SPECTRUM_WIDTH = len(_SPECTRUM_JOINTS) * 2 * (2 + len(_RHYTHM_HZ))


def _spectrum(people: Sequence[BodyMotion]) -> Float32:
    if not people:
        return np.zeros(SPECTRUM_WIDTH, np.float32)
    body = people[0]
    paths = body.relative[:, list(_SPECTRUM_JOINTS)].reshape(len(body.places), -1)
    away = paths - paths.mean(axis=0)
    time = np.arange(len(paths)) / body.fps
    window = np.hanning(len(paths) + 2)[1:-1]
    waves = np.exp(-2j * np.pi * _RHYTHM_HZ[:, None] * time) * window
    amplitude = 2 * np.abs(waves @ away) / window.sum()
    amplitude[body.fps / 2.2 < _RHYTHM_HZ] = 0
    parts = [paths.mean(axis=0), 2 * away.std(axis=0), amplitude.ravel()]
    return np.concatenate(parts).astype(np.float32)

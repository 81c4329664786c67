"""Bodies as frame features, from which all motion attributes of a clip can be computed.

Each row is one frame: up to three people (33 joints with x, y and visibility, and a score), the
camera's step to the next frame, the time in seconds and the aspect ratio of the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from vlar.pose import networks, signals
from vlar.pose.attributes.base import Measurements, measure
from vlar.pose.body import HIPS, JOINTS, LEAST_FRAMES, BodyMotion, prepare_people
from vlar.pose.networks import N_POINTS, Landmarks, PersonDetector, to_image
from vlar.pose.optical_flow import (
    CAMERA_WIDTH,
    optical_flow,
    people_share,
    small_picture,
    steps_of_flow,
)
from vlar.pose.track import MAX_PEOPLE, PoseTracker, Tracks
from vlar.types import Float32, Float64, UInt8

# Version of the numbers that this package computes for given frames (tracks, camera, attributes,
# spectrum). Increase it with every change: libraries and saved models would otherwise mix old
# numbers with new ones.
VERSION = 5
KEPT_BODIES = "bodies"  # key of a clip's facts: rows of bodies that were kept
DEFAULT_FPS = 10.0  # of frames without times
_PERSON = N_POINTS * 3 + 1
_CAMERA = MAX_PEOPLE * _PERSON
_TIME, _ASPECT = _CAMERA + CAMERA_WIDTH, _CAMERA + CAMERA_WIDTH + 1
POSE_WIDTH = _ASPECT + 1
_LEAST_SHARED = 2  # frames; their distance shows that two windows have one rate


class PoseExtractor:
    """Computes frame features of clips with the networks of ``lite-motion``.

    Args:
        max_people: People tracked at the same time, 1 to 3.

    Raises:
        ModelError: the networks are not installed, or their files changed.
    """

    def __init__(self, max_people: int = 2) -> None:
        detector = networks.network(networks.DETECTOR)
        landmarks = networks.network(networks.LANDMARKS)
        self._networks = PersonDetector(detector), Landmarks(landmarks)
        self._max_people = max_people

    def stream(self) -> PoseStream:
        """Stream for the windows of one recording, in the order of time."""
        return PoseStream(PoseTracker(*self._networks, self._max_people))

    def features(self, frames: UInt8, times_s: Float64 | None = None) -> Float32:
        """The frame features of a clip by itself; as ``PoseStream.features``."""
        return self.stream().features(frames, times_s)


@dataclass
class _KeptFrame:
    """A frame of the recording and what was computed from it.

    Attributes:
        pixels: (H, W, 3) uint8.
        time_s: Its time.
        is_new: Whether it differs from the frame before.
        grey: (h, w) float32 small frame; empty until people were looked for in the frame.
        flow: (2, h, w) float32 to the next frame; None until that is there.
        step: Where people are in the small frame, and the camera's step with these.
    """

    pixels: UInt8
    time_s: float
    is_new: bool
    grey: Float32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    flow: Float32 | None = None
    step: tuple[bytes, Float32] | None = None


class PoseStream:
    """Frame features of one recording's windows: what windows share is computed once.

    Where a window starts with the last frames of the one before, people are tracked on from there;
    else tracking starts again. So a window by itself, and one that overlaps no other, give the
    same. Memory holds the frames of one window.
    """

    def __init__(self, tracker: PoseTracker) -> None:
        self._empty, self._tracker = tracker, tracker.restarted()
        self._first = 0  # number of the first frame that is kept
        self._seen: list[_KeptFrame] = []

    def features(self, frames: UInt8, times_s: Float64 | None = None) -> Float32:
        """The frame features of the next window.

        Args:
            frames: (T, H, W, 3) uint8 RGB, in time order.
            times_s: (T,) float64 times of the frames, seconds; None for 10 frames per second.

        Returns:
            (T, POSE_WIDTH) float32; zeros for fewer than five different frames.
        """
        rows = np.zeros((len(frames), POSE_WIDTH), np.float32)
        if not len(frames):
            return rows
        times = np.arange(len(rows)) / DEFAULT_FPS if times_s is None else times_s
        self._take(frames, times)
        if 1 + sum(frame.is_new for frame in self._seen[1:]) < LEAST_FRAMES:
            return rows  # a photo, or a video of two pictures
        self._tracker.extend(frames, self._first, self._picture)
        tracks = self._tracker.window(self._first, len(frames), frames.shape[1])
        rows = features_from_tracks(tracks, times, frames.shape[2] / frames.shape[1])
        rows[:-1, _CAMERA:_TIME] = self._camera_steps(tracks)
        return rows

    def _take(self, frames: UInt8, times: Float64) -> None:
        """Keep the frames of this window, and of the earlier ones what they share."""
        begin = self._overlap(frames, times)
        if begin is None:
            self._first, self._seen, self._tracker = 0, [], self._empty.restarted()
        else:
            self._first, self._seen = self._first + begin, self._seen[begin:]
        for frame, pixels in zip(self._seen, frames, strict=False):
            frame.pixels = pixels  # the arrays of earlier windows can go
        count = len(self._seen)
        for now in range(count, len(frames)):
            is_new = now == 0 or not np.array_equal(frames[now], frames[now - 1])
            self._seen.append(_KeptFrame(frames[now], float(times[now]), is_new))

    def _picture(self, at: int) -> Any:
        """The PIL image of a kept frame, from which its small frame is made too."""
        image = to_image(self._seen[at].pixels)
        self._seen[at].grey = small_picture(image)
        return image

    def _overlap(self, frames: UInt8, times: Float64) -> int | None:
        """Index of the kept frame that is the window's first, if all later ones are the window's
        too.
        """
        for begin, frame in enumerate(self._seen):
            tail = self._seen[begin:]
            if frame.time_s == times[0] and _LEAST_SHARED <= len(tail) <= len(frames):
                pairs = zip(tail, frames, times.tolist(), strict=False)
                if all(s.time_s == t and np.array_equal(s.pixels, f) for s, f, t in pairs):
                    return begin
        return None

    def _camera_steps(self, tracks: Tracks) -> Float32:
        """(T - 1, 4) the camera's step from each frame to the next (``camera_motion``)."""
        now, after = self._seen[:-1], self._seen[1:]
        missing = [index for index, frame in enumerate(now) if frame.flow is None]
        if missing:
            first = np.stack([now[index].grey for index in missing])
            flow = np.stack(
                optical_flow(first, np.stack([after[index].grey for index in missing])), 1
            )
            for index, field in zip(missing, flow, strict=True):
                now[index].flow = field
        keys = [
            tracks.points[tracks.score[:, index] > 0, index].tobytes() for index in range(len(now))
        ]
        fresh = [
            index
            for index, frame in enumerate(now)
            if frame.step is None or frame.step[0] != keys[index]
        ]
        if fresh:
            first = np.stack([now[index].grey for index in fresh])
            flow = np.stack([field for index in fresh if (field := now[index].flow) is not None], 1)
            people = Tracks(tracks.points[:, fresh], tracks.score[:, fresh])
            share = people_share(people, first.shape[1], first.shape[2])
            steps = steps_of_flow(first, flow[0], flow[1], share)
            for index, step in zip(fresh, steps, strict=True):
                now[index].step = keys[index], step
        return np.stack([frame.step[1] for frame in now if frame.step is not None])


def features_from_tracks(tracks: Tracks, times_s: Float64, aspect: float) -> Float32:
    """The frame features of tracks that a camera which stands still recorded.

    Args:
        tracks: At most three people over T frames.
        times_s: (T,) seconds.
        aspect: Width over height of the picture.

    Returns:
        (T, POSE_WIDTH) float32.
    """
    rows = np.zeros((len(times_s), POSE_WIDTH), np.float32)
    for person in range(len(tracks.score)):
        begin = person * _PERSON
        rows[:, begin : begin + _PERSON - 1] = tracks.points[person].reshape(len(rows), -1)
        rows[:, begin + _PERSON - 1] = tracks.score[person]
    rows[:, _TIME] = times_s - times_s[0]
    rows[:, _ASPECT] = aspect
    return rows


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
    fps = signals.frame_rate(len(features), span_s)
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

"""A stick figure of known motion: what an attribute must read is known to the digit.

Lengths are body heights (nose to ankles over 1.12 as ``vlar.pose.body`` estimates them); the figure
faces the camera unless told otherwise, 0.5 frame heights tall, in a frame of aspect 16:9.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vlar.pose.body import BodyMotion, prepare_people
from vlar.pose.optical_flow import CAMERA_WIDTH
from vlar.pose.track import Tracks

ASPECT = 16 / 9
TALL = 0.5  # frame heights
# Nose to shoulders .12, shoulders to hips .30, thigh .24, shin .232: together 1 / 1.12.
NECK, TORSO, THIGH, SHIN = 0.12, 0.30, 0.24, 1 / 1.12 - 0.66
UPPER_ARM, FOREARM = 0.17, 0.16
WIDTH = 0.11  # half of the shoulders' and hips' width


@dataclass
class Figure:
    """Angles are degrees from hanging down (arms, legs) or upright (trunk); one value a frame."""

    n_frames: int = 64
    fps: float = 16.0
    x: object = 0.0  # body heights across the picture
    hip_drop: object = 0.0  # body heights below standing
    pitch: object = 0.0
    legs: object = ((0.0, 0.0), (0.0, 0.0))  # (thigh, shin) left, right; forward is positive
    arms: object = ((10.0, 10.0), (10.0, 10.0))  # (upper, fore) left, right; outwards is positive
    lift: object = (0.0, 0.0)  # body heights each foot is off the ground
    zoom: object = 1.0
    visible: np.ndarray = field(default_factory=lambda: np.ones(33))
    at: float = ASPECT / 2  # frame heights of the middle
    side: float = 1.0  # -1: seen from behind
    facing: float = 0.0  # 1: seen from the side, looks right; -1: left; arms and legs go forwards

    @property
    def time(self) -> np.ndarray:
        return np.arange(self.n_frames) / self.fps

    def points(self) -> np.ndarray:
        """(T, 33, 3)."""

        def row(value: object) -> np.ndarray:
            return np.broadcast_to(np.asarray(value, np.float64), (self.n_frames,)).copy()

        def limb(start: np.ndarray, length: float, angle: np.ndarray) -> np.ndarray:
            radians = np.radians(angle)
            return start + length * np.stack([np.sin(radians), np.cos(radians)], axis=-1)

        standing = THIGH + SHIN
        hip = np.stack([row(self.x), row(self.hip_drop) - standing], axis=-1)
        lean = row(self.pitch) * (self.facing or 1)
        shoulder = limb(hip, -TORSO, -lean)
        place = np.zeros((self.n_frames, 33, 2))
        place[:, 0] = limb(shoulder, -NECK, -lean)
        place[:, 0, 0] += 0.06 * self.facing
        for index in range(1, 11):
            place[:, index] = place[:, 0] + (0, -0.015)
        half = 0.0 if self.facing else 0.05
        back = -0.09 * self.facing
        place[:, 7], place[:, 8] = (
            place[:, 0] + (back + half, -0.02),
            place[:, 0] + (back - half, -0.02),
        )
        for k, sign in ((0, self.side), (1, -self.side)):
            out = np.array([sign * (WIDTH if not self.facing else 0.3 * WIDTH), 0.0])
            ahead = self.facing or sign
            place[:, 11 + k], place[:, 23 + k] = shoulder + out, hip + out
            upper, fore = (row(a) * ahead for a in self.arms[k])
            place[:, 13 + k] = limb(place[:, 11 + k], UPPER_ARM, upper)
            place[:, 15 + k] = limb(place[:, 13 + k], FOREARM, fore)
            thigh, shin = (row(a) * (self.facing or 1) for a in self.legs[k])
            place[:, 25 + k] = limb(place[:, 23 + k], THIGH, thigh)
            place[:, 27 + k] = limb(place[:, 25 + k], SHIN, shin)
            place[:, 27 + k, 1] -= row(self.lift[k])
        for index in (17, 19, 21):
            place[:, index], place[:, index + 1] = place[:, 15], place[:, 16]
        for index in (29, 31):
            place[:, index], place[:, index + 1] = place[:, 27], place[:, 28]
        size = TALL * row(self.zoom)[:, None, None]
        picture = place * size + (self.at, 0.8)
        visible = np.broadcast_to(self.visible, (self.n_frames, 33))
        return np.concatenate([picture, visible[..., None]], axis=-1).astype(np.float32)

    def camera(self) -> np.ndarray:
        return np.zeros((self.n_frames, CAMERA_WIDTH), np.float32)

    def tracks(self, *others: Figure) -> Tracks:
        points = np.stack([f.points() for f in (self, *others)])
        return Tracks(points, np.ones(points.shape[:2], np.float32))

    def people(self, *others: Figure) -> list[BodyMotion]:
        return prepare_people(self.tracks(*others), self.fps, ASPECT, self.camera())


def wave(time: np.ndarray, hertz: float, size: float = 1.0, phase: float = 0.0) -> np.ndarray:
    return size * np.sin(2 * np.pi * hertz * time + phase)


def walker(speed: float = 1.2, steps: float = 2.0, **changes: object) -> Figure:
    """Walks to the right at ``speed`` body heights and ``steps`` steps a second."""
    still = Figure(n_frames=48)
    t = still.time
    swing = wave(t, steps / 2, 25)
    return Figure(
        n_frames=48,
        x=speed * (t - t.mean()),
        legs=((swing, swing - 8), (-swing, -swing - 8)),
        arms=((wave(t, steps / 2, 8), 8), (wave(t, steps / 2, 8), 8)),
        **changes,
    )
